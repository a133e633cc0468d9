"""`python -m xview_demo.cli` is `xview`."""

from xview_demo.cli import main

main()
