"""The database: connections, transactions, statements, schema and migrations."""
