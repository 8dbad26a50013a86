from wine.model import fit


def test_fit():
    assert fit("data/wine.csv", 0.0) >= 0
