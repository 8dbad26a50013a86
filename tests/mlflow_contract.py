"""What the machinery relies on in MLflow beside its public API: the one place that says so.

Before another version of MLflow is pinned, `nox -s compat -- VERSION` compares that version with this file and with
mlflow_routes.txt. test_gate_in_force.py and test_gate_routes.py compare the pinned one.
"""

# {place: {method: its parameters}}; the gate replaces or calls each of these.
STORE = "mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore"
REGISTRY = "mlflow.store.model_registry.sqlalchemy_store:SqlAlchemyStore"
METHODS = {
    STORE: {
        "__init__": ["self", "db_uri", "default_artifact_root", "read_db_uri"],
        "create_experiment": ["self", "name", "artifact_location", "tags"],
        "create_run": ["self", "experiment_id", "user_id", "start_time", "tags", "run_name"],
        "delete_run": ["self", "run_id"],
        "delete_experiment": ["self", "experiment_id"],
        "update_run_info": ["self", "run_id", "run_status", "end_time", "run_name"],
        "log_batch": ["self", "run_id", "metrics", "params", "tags"],
        "log_param": ["self", "run_id", "param"],
        "set_tag": ["self", "run_id", "tag"],
        "_set_tags": ["self", "run_id", "tags"],
        "delete_tag": ["self", "run_id", "key"],
        "create_logged_model": ["self", "experiment_id", "name", "source_run_id", "tags", "params", "model_type"],
        "log_logged_model_params": ["self", "model_id", "params"],
        "delete_logged_model": ["self", "model_id"],
        "finalize_logged_model": ["self", "model_id", "status"],
        "log_outputs": ["self", "run_id", "models"],
        "_log_model_metrics": ["self", "run_id", "metrics", "experiment_id", "dataset_uuid"],
        "set_trace_tag": ["self", "trace_id", "key", "value"],
        "_check_run_is_active": ["self", "run"],
        "_get_run": ["self", "session", "run_uuid", "eager"],
    },
    REGISTRY: {
        "__init__": ["self", "db_uri", "read_db_uri"],
        "create_registered_model": ["self", "name", "tags", "description", "deployment_job_id"],
        "create_model_version": [
            *("self", "name", "source", "run_id", "tags", "run_link", "description", "local_model_path", "model_id"),
        ],
        "set_registered_model_alias": ["self", "name", "alias", "version"],
        "delete_model_version": ["self", "name", "version"],
        "delete_registered_model": ["self", "name"],
        "get_model_version_download_uri": ["self", "name", "version"],
    },
}
# Every way to write to a run calls `_check_run_is_active` first.
CHECKING = [
    *("update_run_info", "log_metric", "_log_metrics_once", "log_param", "_log_params", "set_tag", "_set_tags"),
    *("delete_tag", "log_batch", "record_logged_model", "log_inputs", "log_outputs"),
]
# {module: names in it}
NAMES = {
    "mlflow.server": ["app"],
    "mlflow.server.auth": ["create_app", "store", "auth_config", "get_permission", "_role_grant_for_resource"],
    "mlflow.server.auth.config": ["read_auth_config"],
    "mlflow.server.constants": [
        *("BACKEND_STORE_URI_ENV_VAR", "ARTIFACT_ROOT_ENV_VAR", "READ_REPLICA_BACKEND_STORE_URI_ENV_VAR"),
        *("REGISTRY_STORE_URI_ENV_VAR", "SERVE_ARTIFACTS_ENV_VAR"),
    ],
    "mlflow.server.fastapi_app": ["create_fastapi_app"],
    "mlflow.server.handlers": [
        *("_get_proxied_run_artifact_destination_path", "_get_artifact_repo_mlflow_artifacts"),
        *("_get_workspace_scoped_repo_path_if_enabled", "_get_tracking_store", "_get_model_registry_store"),
        *("catch_mlflow_exception", "STATIC_PREFIX_ENV_VAR"),
    ],
    "mlflow.store.db.utils": [
        *("_safe_initialize_tables", "_upgrade_db", "create_sqlalchemy_engine_with_retry", "create_sqlalchemy_engine"),
    ],
    "mlflow.store.model_registry.dbmodels.models": ["SqlModelVersion", "SqlRegisteredModelAlias"],
    "mlflow.store.tracking": ["DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH"],
    "mlflow.store.tracking.dbmodels.models": ["SqlRun", "SqlTag", "SqlParam", "SqlMetric"],
    "mlflow.tracking._model_registry.utils": ["_get_store"],
    "mlflow.tracking._tracking_service.utils": ["_get_store"],
    "mlflow.tracking.fluent": ["_get_or_start_run", "_active_run_stack"],
    "mlflow.utils.import_hooks": ["register_post_import_hook"],
    "mlflow.utils.uri": ["is_local_uri", "validate_path_is_safe"],
    "mlflow.utils.validation": [
        *("_validate_model_name", "_validate_model_alias_name", "_validate_model_alias_name_reserved"),
    ],
}
