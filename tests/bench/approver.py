"""How long a person waits for the approval page: `make bench-approver`, one table, one run.

Each page is opened anew in Debian's Chromium from a service and an approver that do nothing else:
the answer is what approver and service need to gather, verify and render, the paint what is seen.
"""

from __future__ import annotations

import statistics
import sys

from tests.approver.browser import chromium, screen
from tests.world import living

PAGES = 30
TIMES = """() => {
  const [page] = performance.getEntriesByType('navigation');
  const [paint] = performance.getEntriesByName('first-contentful-paint');
  return [page.responseEnd - page.requestStart, paint.startTime];
}"""


def main() -> int:
    """Open pages and print what they took."""
    with living() as world, chromium() as browser:
        view = world.outstanding(world.allowance(1_500_000))
        speaks = world.officer("cro-1").speaks
        answers, paints = [], []
        with screen(browser, world, "cro-1") as tab:
            for _ in range(PAGES):
                tab.open(speaks.ask(view.digest).ticket)
                tab.page.wait_for_timeout(200)
                answer, paint = tab.page.evaluate(TIMES)
                answers.append(answer)
                paints.append(paint)
        world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the bench")
    print(f"{'approval page, ms':20} {'median':>8} {'worst':>8} {'first':>8}")
    for name, found in (("answer", answers), ("first paint", paints)):
        print(f"{name:20} {statistics.median(found):8.0f} {max(found):8.0f} {found[0]:8.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
