"""The admin's login of a server with logins: set to what the environment says, whatever the database says.

A backup brings its own logins along, and whoever restores it may have no other password than the new server's. Runs in
the server's container, by ``python -m``.
"""

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore


def reset() -> None:
    """Give the admin the password that the server was started with; raises MLflow's error if there is no such user."""
    config = read_auth_config()
    store = SqlAlchemyStore()
    store.init_db(config.database_uri)
    store.update_user(config.admin_username, password=config.admin_password, is_admin=True)


if __name__ == "__main__":
    reset()
