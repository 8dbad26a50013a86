# Removes the working directory, which the first argument names, and then runs the other arguments as a command there.
rmdir "$1"
shift
exec "$@"
