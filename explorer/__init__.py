"""The latent-space explorer: models, bundles and pictures of what an autoencoder learns.

    images -> model -> bundle -> page -> figure

`train.py` walks the left half and writes bundles; `app.py` and `pages/` read them.
"""
