"""What an extraction, and the probes after it, will cost, before anything is spent.

Read `work` (what is to be done), `rates` and `measure` (what a machine can do), `costs` (the formulas),
`plan` (all of it together), `report` (as tables).
"""

from extract.planning.command import show_plan
from extract.planning.options import PlanOptions

__all__ = ["PlanOptions", "show_plan"]
