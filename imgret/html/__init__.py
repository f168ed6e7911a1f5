"""The report page: one HTML file, without network, to look at what a search or an evaluation found."""
