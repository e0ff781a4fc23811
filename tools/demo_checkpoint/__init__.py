"""How the demo checkpoint is made, station by station; `tools/build_demo_checkpoint.py` walks them in order."""
