"""What a batch costs beside a bare loop, what a kill costs it, and how little it remembers.

    python benchmarks/batch speed   [--items N] [--at-once 50,200,1000] [--rounds N]
    python benchmarks/batch crashes [--items N] [--kills N] [--seed S]
    python benchmarks/batch workers [--items N] [--at-once N] [--seed S]
    python benchmarks/batch postgres [--items N] [--processes 1,2,4,8] [--seconds S]
    python benchmarks/batch memory  [--items N]
    python benchmarks/batch scale   [--items N] [--at-once N]
    python benchmarks/batch                     all of them, one after another: an hour

`speed`: items of three calls to a provider that takes 200 ms, as a batch and as a bare
`asyncio.gather` under a semaphore over the same graph without a ledger, in pairs, each in a process
of its own; and the wall time beside the ideal one. `crashes`: the batch is killed (SIGKILL) at random, and the same command given again;
then OUT is compared with the items and the ledger with the provider's own bill. `workers`: the same
for three workers on Postgres, of which one is killed and one stopped for a while. `postgres`: what
workers ask of their server. `memory`: a million items of a workflow that calls no model. `scale`: 100,000
items of one call, whose speed at the end is compared with that at the beginning. Ends with 1 where a
bound is passed.
"""

from __future__ import annotations

import argparse
import sys

import crashes
import memory
import postgres
import scale
import speed
import workers

KINDS = {
    "speed": speed,
    "crashes": crashes,
    "workers": workers,
    "postgres": postgres,
    "memory": memory,
    "scale": scale,
}


def main() -> int:
    """Measure what is asked for.

    Returns:
        0 when every bound is kept, else 1.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind")
    for name, module in KINDS.items():
        module.options(kinds.add_parser(name))
    asked = parser.parse_args().kind
    kept = True
    for name in [asked] if asked else KINDS:
        print(f"-- {name}", flush=True)
        kept = KINDS[name].measure(parser.parse_args(None if asked else [name])) and kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
