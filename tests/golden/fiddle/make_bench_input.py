"""Made-up long-format event table for timing a FIDDLE-style featuriser.

Writes <out>/data.csv (ID,t,variable_name,variable_value) and <out>/pop.csv (ID).
Nothing here is patient data: every value is drawn from numpy's generator.

    python make_bench_input.py --out DIR --n-ids 1000 --hours 48 --seed 7

Variables (60 time-dependent, 8 time-invariant, whatever --n-ids is):
  VITAL_00..09   numeric, about 1.15 readings per hour      (become "frequent")
  LAB_00..29     numeric, one reading every 6-12 h, 20-90 % of ids ever have it
  MIX_00..04     numeric with text results such as "<1"
  CAT_00..09     categorical, 3-8 levels, every 4 h
  RATE_00..04    numeric infusion rate, hourly while "on", 10-40 % of ids
  STATIC_NUM_0..2, STATIC_CAT_0..4   one row per id with an empty t
Times are drawn without repeats inside (id, variable), rounded to 1e-4 h, so no
(ID, t, variable) is duplicated.
"""

import argparse
import csv
import os

import numpy as np


def draw_times(rng, count, hours):
    ticks = rng.choice(int(hours * 10_000), size=count, replace=False)
    ticks.sort()
    return ticks / 10_000.0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True)
    ap.add_argument("--n-ids", type=int, default=1000)
    ap.add_argument("--hours", type=int, default=48)
    ap.add_argument("--seed", type=int, default=7)
    a = ap.parse_args()
    rng = np.random.default_rng(a.seed)
    os.makedirs(a.out, exist_ok=True)

    lab_share = rng.uniform(0.2, 0.9, 30)
    lab_gap = rng.uniform(6.0, 12.0, 30)
    rate_share = rng.uniform(0.1, 0.4, 5)
    n_levels = rng.integers(3, 9, 10)
    rows = 0
    with open(os.path.join(a.out, "pop.csv"), "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["ID"])
        w.writerows([[100_000 + i] for i in range(a.n_ids)])
    with open(os.path.join(a.out, "data.csv"), "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["ID", "t", "variable_name", "variable_value"])

        def emit(pid, name, times, values):
            nonlocal rows
            for t, v in zip(times, values, strict=True):
                w.writerow([pid, t, name, v])
            rows += len(values)

        for i in range(a.n_ids):
            pid = 100_000 + i
            for k in range(3):
                w.writerow([pid, "", f"STATIC_NUM_{k}", round(float(rng.normal(60, 15)), 2)])
            for k in range(5):
                w.writerow([pid, "", f"STATIC_CAT_{k}", f"s{rng.integers(0, 4 + 3 * k)}"])
            rows += 8
            for k in range(10):
                c = int(rng.poisson(1.15 * a.hours))
                emit(
                    pid,
                    f"VITAL_{k:02d}",
                    draw_times(rng, c, a.hours),
                    np.round(rng.normal(80 + k, 10, c), 1),
                )
            for k in range(30):
                if rng.random() < lab_share[k]:
                    c = int(rng.poisson(a.hours / lab_gap[k]))
                    emit(
                        pid,
                        f"LAB_{k:02d}",
                        draw_times(rng, c, a.hours),
                        np.round(rng.gamma(2 + k % 5, 3.0, c), 2),
                    )
            for k in range(5):
                c = int(rng.poisson(a.hours / 8.0))
                vals = [
                    "<1" if rng.random() < 0.2 else round(float(rng.gamma(2, 2)), 1)
                    for _ in range(c)
                ]
                emit(pid, f"MIX_{k:02d}", draw_times(rng, c, a.hours), vals)
            for k in range(10):
                c = int(rng.poisson(a.hours / 4.0))
                emit(
                    pid,
                    f"CAT_{k:02d}",
                    draw_times(rng, c, a.hours),
                    [f"c{j}" for j in rng.integers(0, n_levels[k], c)],
                )
            for k in range(5):
                if rng.random() < rate_share[k]:
                    start = int(rng.integers(0, a.hours))
                    stop = int(min(a.hours, start + 1 + rng.integers(0, 24)))
                    emit(
                        pid,
                        f"RATE_{k:02d}",
                        [h + 0.5 for h in range(start, stop)],
                        np.round(rng.gamma(2, 0.05, stop - start), 4),
                    )
    print(f"ids={a.n_ids} rows={rows} seed={a.seed}")


if __name__ == "__main__":
    main()
