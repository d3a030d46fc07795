"""Contents of the pages: results of reports as tables and charts. One module each."""
