"""The meta-controller: the LLM that reviews hard samples, and the ledger of its calls."""
