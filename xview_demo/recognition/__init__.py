"""Place recognition from photograph to photograph: galleries of photographs, retrieval, re-ranking, its figures."""

from xview_demo.recognition.recognizer import PlaceRecognizer

__all__ = ["PlaceRecognizer"]
