#!/bin/sh
# Stands for a browser: notes the address that it is to open.
echo "$1" >> "$OPENED"
