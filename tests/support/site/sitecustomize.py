"""Python runs this as it begins, where this folder is on PYTHONPATH: see torchvision_here.py."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import torchvision_here

sys.path.pop()
torchvision_here.install()
