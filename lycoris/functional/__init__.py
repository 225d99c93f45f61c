"""`lycoris.functional` of trainers, updates as functions: see `lycoris.drop_in.functional`."""
