"""Results for people: the report, the closing table, the summary and the model card."""
