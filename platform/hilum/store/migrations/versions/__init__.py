"""One file for each version of the ledger's schema, never edited once released."""
