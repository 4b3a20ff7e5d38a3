"""Models and tokenizers: found, checked, loaded, sampled from and saved; and vLLM engines in processes of their own."""
