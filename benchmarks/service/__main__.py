"""How fast the service is, whether a quota holds, and what a kill and open pages cost.

    python benchmarks/service speed [--databases sqlite,postgres] [--workers 1,2] [--clients 1,50,200]
                                    [--latencies 0,200] [--requests N]
    python benchmarks/service quota [--databases ...] [--processes N] [--tries N] [--grants N]
    python benchmarks/service kills [--databases ...] [--requests N] [--clients N] [--kills N]
    python benchmarks/service pages [--databases ...] [--pages N]
    python benchmarks/service              all of them, one after another

`speed`: `POST /api/v1/runs` with `Prefer: wait`, of a workflow of one call to a simulated provider
that takes 0 or 200 ms; each client sends one request at a time. What is added is the time of the
answer without that of the call. CPU is that of all processes of the service for each request.

The bars are an added p50 of 15 ms and p99 of 100 ms with 50 clients and the call of 200 ms, which is
about 230 requests a second. With the call of 0 ms the figures are the capacity: 50 clients that ask
again as soon as they are answered can be answered within 15 ms only at 3,300 requests a second, which
no Python service of this kind reaches on two cores.

`quota`: processes ask at once until a quota is used up. `kills`: workers are killed under load, and
then the ledger is compared with what the clients were told and with the provider's own bill. `pages`:
what 100 open pages of a run in progress add to the memory of the service; the bar is 20 MB. Ends with
1 where a bar is not kept. In a minute:

    python benchmarks/service speed --databases sqlite --workers 1 --clients 50 --latencies 200
"""

from __future__ import annotations

import argparse
import sys

import kills
import pages
import quota
import speed

PARTS = {"speed": speed, "quota": quota, "kills": kills, "pages": pages}


def main() -> int:
    """Measure a part, or all of them.

    Returns:
        0 when every bar is kept, else 1.
    """
    summary, _, rest = (__doc__ or "").partition("\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=rest, formatter_class=raw)
    parts = parser.add_subparsers(dest="part")
    for name, part in PARTS.items():
        part.options(parts.add_parser(name))
    given = parser.parse_args()
    kept = []
    for name in [given.part] if given.part else PARTS:
        print(f"# {name}", flush=True)
        kept.append(PARTS[name].measure(given if given.part else parser.parse_args([name])))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
