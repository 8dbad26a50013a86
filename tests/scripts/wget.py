#!/usr/local/bin/python
"""As much of wget as a health check needs: ends with an error unless the last argument answers."""

import sys
import urllib.request

urllib.request.urlopen(sys.argv[-1], timeout=5)  # noqa: S310
