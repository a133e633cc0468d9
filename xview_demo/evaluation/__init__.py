"""How good the models are, measured on worlds they have never seen. Every function returns what `--json` prints.

Rates are percentages, IoU and SSIM fractions, angles degrees, lengths metres.
"""

from xview_demo.evaluation.dense import calibrate_classes, evaluate_depth, evaluate_segmentation
from xview_demo.evaluation.matching import calibrate, evaluate_matching
from xview_demo.evaluation.position import calibrate_position, evaluate_position, evaluate_real_position
from xview_demo.evaluation.protocol import TEST, VALIDATION, Protocol, fit_temperature
from xview_demo.evaluation.real import (
    evaluate_real_pairs,
    evaluate_real_segmentation,
    evaluate_real_synthesis,
    parse_scales,
    real_pairs,
)
from xview_demo.evaluation.refinement import evaluate_refinement
from xview_demo.evaluation.reranking import calibrate_fusion, calibrate_verifier
from xview_demo.evaluation.synthesis import evaluate_synthesis

__all__ = [
    "TEST",
    "VALIDATION",
    "Protocol",
    "calibrate",
    "calibrate_classes",
    "calibrate_fusion",
    "calibrate_verifier",
    "calibrate_position",
    "evaluate_depth",
    "evaluate_matching",
    "evaluate_position",
    "evaluate_real_pairs",
    "evaluate_real_position",
    "evaluate_real_segmentation",
    "evaluate_real_synthesis",
    "evaluate_refinement",
    "evaluate_segmentation",
    "evaluate_synthesis",
    "fit_temperature",
    "parse_scales",
    "real_pairs",
]
