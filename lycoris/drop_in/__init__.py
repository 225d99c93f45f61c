"""A drop-in for `lycoris-lora`: its calls, option names and keys on this library's adapters (docs/drop-in.md).

Trainers reach it by the names that `lycoris-lora` has: `lycoris.create_lycoris`, `lycoris.kohya`, `lycoris.wrapper`,
`lycoris.config`, `lycoris.config_sdk` and `lycoris.modules`.
"""
