"""All that outlives the process: tables, transactions, files. It knows no HTTP and no queue."""
