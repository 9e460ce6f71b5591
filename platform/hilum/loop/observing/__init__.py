"""What stands in a store and its ledger, told as metrics: read once, and after that only what is new."""
