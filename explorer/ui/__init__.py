"""Everything that imports streamlit besides the pages: frame, cached loaders, widgets, components."""
