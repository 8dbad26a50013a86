"""Compare a run with its last reproduction, as promotion and review do: print the outcome and what differs first."""

import sys

from reproducibility.reproduce.reproduce import compare_with_last_reproduction

verdict = compare_with_last_reproduction(sys.argv[1])
print(verdict.outcome, verdict.first_difference or "")
