"""Print the root of the project that the installed machinery serves."""

from reproducibility import PROJECT_ROOT

print(PROJECT_ROOT)
