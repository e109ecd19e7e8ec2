"""The yardstick of `benchmarks.latency`: one slider, one decode, one st.image, nothing else."""

import streamlit as st
import torch

from explorer.checkpoints import Bundle, root_folder


@st.cache_resource
def model() -> torch.nn.Module:
    """Load the decoder once."""
    return Bundle("fashion-mnist", "conv-vae", root_folder()).load()


z = st.slider("z", -3.0, 3.0, 0.0, 0.05)
with torch.inference_mode():
    x = model().decode(torch.tensor([[z, 0.0]]))
st.image(x[0, 0].numpy(), width=400)
