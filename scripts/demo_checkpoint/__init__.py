"""How the demo checkpoint is made, station by station; `scripts/build_demo_checkpoint.py` walks them in order."""
