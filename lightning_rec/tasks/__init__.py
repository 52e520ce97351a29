"""One LightningModule per problem, and what moves with it."""
