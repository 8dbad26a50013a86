#!/bin/sh
# As git, but kills the process that started it, as a power cut would: $KILL_BEFORE or $KILL_AFTER names the command.
for argument in "$@"; do
  if [ "$argument" = "$KILL_BEFORE" ]; then kill -9 $PPID; exit 1; fi
  if [ "$argument" = "$KILL_AFTER" ]; then "$REAL_GIT" "$@"; kill -9 $PPID; exit 1; fi
done
exec "$REAL_GIT" "$@"
