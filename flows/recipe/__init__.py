"""Recipe: one settings model for the YAML file, for `--set`, and for the form of Prefect."""
