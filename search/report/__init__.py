"""What a search leaves for people: the report, the closing table, the summary, the model card."""
