"""The report page: one HTML file, without network, to look at what a search or an evaluation found.

`contract` says what a page holds, `evaluation` and `search` make it of what was found, `page` writes it, and `page.js` shows it.
What a page is to show besides goes the same way: a field of the contract, filled in by either or both, and shown by the script.
`duplicates` and `training` are pages of their own, and `elements.js` is what the scripts of all are built with.
"""
