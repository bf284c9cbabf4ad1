"""`make bench-risk`: what exact figures and drawn years cost, beside how others have them, in one run.

(1) The exact annual distribution of five scenarios: compound Poisson, lognormal losses.
(2) The same by drawn years, ten millions, two workers: every figure's interval included in the time. The
    peak of memory is that of `workbench risk exposure` over ten million years.
(3) A loop over years in Python: the number of events of each year, then each one's loss: riskquant's method
    (Poisson events, lognormal losses from a 90 % interval), written anew.
(4) pyfair 0.1a13 (package): loss event frequency times loss magnitude for each of a million simulations, five
    models and their sum. It is no compound distribution; what it answers is another question.
(5) 3,000 exact portfolios, for Sobol indices.
(6) A slider in real JupyterLab, in Chromium: from the move to what follows being drawn, as the page tells it.

Nothing is gated on these figures.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tests.approver.browser import chromium
from tests.e2e.test_lab import explored, move
from tests.risk.portfolios import SEED, portfolio, scenario
from tests.world import living
from workbench.demo.lab import running
from workbench.risk.exposure import annual as exact
from workbench.risk.exposure import sensitivity, severity
from workbench.risk.exposure.scenarios import Lognormal, Portfolio
from workbench.risk.exposure.simulated import simulate

YEARS, LOOP_YEARS, PYFAIR_YEARS = 10_000_000, 100_000, 1_000_000
ROUNDS = 15
DESK = SEED.with_name("desk.yaml")
LEVELS = (0.95, 0.99, 0.999)
PORTFOLIOS = 3_000
MOVES = 20


def five() -> Portfolio:
    """Return five scenarios of the seed's rates, with losses that vary."""
    losses = {
        "key": (0.005, [2_000_000, 20_000_000]),
        "phishing": (0.05, [50_000, 2_000_000]),
        "contract": (0.1, [200_000, 6_000_000]),
        "oracle": (0.03, [100_000, 5_000_000]),
        "insiders": (0.001, [2_000_000, 20_000_000]),
    }
    return portfolio(
        *(
            scenario(name, likelihood={"rate": rate}, severity={"interval": interval, "cap": 100_000_000})
            for name, (rate, interval) in losses.items()
        )
    )


def main() -> int:
    """Measure and print one table."""
    whole = five()
    once = _median(lambda: told(whole), ROUNDS)
    years = YEARS / _median(lambda: drawn(whole), 5)
    loop = LOOP_YEARS / _median(lambda: looped(whole), 3)
    other = PYFAIR_YEARS / _median(lambda: fair(whole), 3)
    many = _median(lambda: indices(whole), 3)
    rows = [
        ("exact portfolio, 16,384 places", f"{1000 * once:.1f} ms", "at most 50"),
        ("drawn years a second", f"{years / 1e6:.1f} M", "at least 25 M"),
        ("  peak memory of ten millions", f"{_memory():.0f} MB", "under 300"),
        ("years in a loop, riskquant's method", f"{loop / 1e6:.3f} M", f"{years / loop:.0f}x, at least 400x"),
        ("pyfair 0.1a13", f"{other / 1e6:.3f} M", f"{years / other:.0f}x, at least 100x"),
        (f"{PORTFOLIOS:,} exact portfolios", f"{many:.2f} s", "at most 2"),
        *slid(),
    ]
    for name, figure, remark in rows:
        print(f"{name:40} {figure:>12}  {remark}")
    print(f"\n{os.cpu_count()} cores; medians")
    return 0


def told(whole: Portfolio) -> list[float]:
    """(1) Return mean, VaR and TVaR."""
    year = exact.annual(exact.inherent(whole))
    return [year.mean, *(figure(level) for level in LEVELS for figure in (year.var, year.tvar))]


def drawn(whole: Portfolio) -> list[Any]:
    """(2) Return the same with intervals."""
    with ThreadPoolExecutor(2) as pool:
        made = simulate(whole, seed=1, years=YEARS, controlled=False, executor=pool)
    return [made.mean(), *(figure(level) for level in LEVELS for figure in (made.var, made.tvar))]


def looped(whole: Portfolio) -> list[float]:
    """(3) Return the same year by year."""
    random = np.random.default_rng(1)
    total = np.zeros(LOOP_YEARS)
    for each in whole.scenarios:
        assert isinstance(each.severity, Lognormal)
        mu, sigma = severity.logarithmic(each.severity)
        rate = float(each.likelihood.rate)  # type: ignore[union-attr]
        for year in range(LOOP_YEARS):
            events = random.poisson(rate)
            total[year] += random.lognormal(mu, sigma, events).sum()
    return [float(total.mean()), *(float(np.quantile(total, level)) for level in LEVELS)]


def fair(whole: Portfolio) -> list[float]:
    """(4) Return what pyfair makes of rates and intervals: PERT magnitudes, constant frequencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyfair import FairMetaModel, FairModel  # noqa: PLC0415 - the package warns

        models = []
        for each in whole.scenarios:
            assert isinstance(each.severity, Lognormal)
            low, high = (float(bound) for bound in each.severity.interval)
            model = FairModel(each.id, n_simulations=PYFAIR_YEARS)
            model.input_data("Loss Event Frequency", constant=float(each.likelihood.rate))  # type: ignore[union-attr]
            model.input_data("Loss Magnitude", low=low, mode=float(np.sqrt(low * high)), high=high)
            models.append(model.calculate_all())
        together = FairMetaModel("five", models).calculate_all()
        risk = together.export_results()["Risk"]
    return [float(risk.mean()), *(float(risk.quantile(level)) for level in LEVELS)]


def indices(whole: Portfolio) -> list[sensitivity.Index]:
    """(5) Return Sobol indices of TVaR over so many portfolios."""
    draws = 2 ** int(np.ceil(np.log2(PORTFOLIOS / (len(whole.scenarios) + 2))))
    return sensitivity.sobol(whole, seed=1, draws=draws)


def slid() -> list[tuple[str, str, str]]:
    """(6) Return how long the page took to follow, for the five rows and for the desk's own scenarios."""
    rows = []
    with living() as world, running(world.world) as lab, chromium() as browser:
        path = lab.notebooks / "risk" / "exposure.ipynb"
        for name in ("seed.yaml", "desk.yaml"):
            path.write_text(path.read_text().replace("seed.yaml", name))
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            explorer = explored(page, lab.url("committee-1", "risk/exposure.ipynb"))
            moved = [move(explorer, "common", place / MOVES) for place in range(1, MOVES + 1)]
            page.close()
            worst = sorted(moved)[round(0.95 * MOVES) - 1]
            figure = f"{statistics.median(moved):.0f} ms"
            rows.append((f"a slider in Lab, {name}", figure, f"p95 {worst:.0f}, under 200"))
    return rows


def _memory() -> float:
    """Return the peak of the command over ten million years of the desk's own scenarios, in MB."""
    code = (
        "import sys; from pathlib import Path; from workbench.cli import main; "
        f"main(['risk', 'exposure', {str(DESK)!r}, '--years', '{YEARS}']); "
        "sys.stderr.write(Path('/proc/self/status').read_text())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # not ru_maxrss: a child has its parent's
    return int(done.stderr.split("VmHWM:")[1].split()[0]) / 1024


def _median(work: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
