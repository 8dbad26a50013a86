"""Record two tracked runs of one commit, of which one param differs; prints their ids: python diff_record.py PARAMS"""

import sys

from reproducibility import tracked_run


def main(params: int) -> None:
    for odd in (0, 1):
        knobs = {f"knob_{number}": number for number in range(params)} | {"knob_7": 7 + odd}
        config = {"experiment_name": "big", "seed": 1, "data": {"path": "data/penguins.csv"}, "knobs": knobs}
        with tracked_run(config) as run:
            print(run.info.run_id)


if __name__ == "__main__":
    main(int(sys.argv[1]))
