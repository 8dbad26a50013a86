"""How the template compares with its peers and with the least possible, side by side in one run: nox -s bench"""
