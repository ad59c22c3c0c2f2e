"""The page of `iqp demo` as a Hugging Face Space."""

from iqp_adapter.demo import page, serve

serve(page("tiny"))
