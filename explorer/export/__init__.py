"""Pages that need no server: one HTML file with a model, the app's own components and what they show.

`contents` says what goes into the file for each page that can be taken home, `document` writes it, and
`python -m explorer.export` does so without the app. The file asks nothing of any network, and says so to the browser.
"""
