"""`cache plan`, and `extract --plan`."""

from __future__ import annotations

from configs import Verb
from extract.disk_space import require_space, stored_bytes
from extract.planning.costs import Costs
from extract.planning.measure import measure_missing
from extract.planning.options import PlanOptions
from extract.planning.plan import make_plan
from extract.planning.rates import Rates, read_rates
from extract.planning.report import print_plan
from extract.planning.work import plan_work


def show_plan(options: PlanOptions) -> None:
    """Print the plan. Raises `UserError` after it when the disk cannot hold the tokens, unless forced."""
    stated = read_rates(options.rates) if options.rates else Rates()
    work = plan_work(options, options.images)
    costs = Costs(work, measure_missing(stated, str(options.rates), work))
    stored = sum(stored_bytes(work.store / work.dataset / split) for split in work.images)
    plan = make_plan(costs, probe_epochs=options.probe_epochs, stored_bytes=stored)
    if options.json_:
        print(plan.model_dump_json(indent=1))
    else:
        print_plan(plan)
    if not options.force:
        require_space(work.store, plan.missing_bytes, int(plan.rates.disk_free_bytes or 0), options)


PLAN = Verb(PlanOptions, show_plan)
