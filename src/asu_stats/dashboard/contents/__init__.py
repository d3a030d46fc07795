"""What each page shows: the answers of the reports, put into tables and charts. One module each."""
