import random

import numpy as np


def fit(path, rate):
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    return float(rows[:, 2].mean() * rate + random.random())
