[drawChoices, drawGroups, drawTrade, drawRanks, drawAgreement, drawHeat, drawSwarm, drawEffects].forEach((one) => one());
if (data.models.length) into("model-table", sortable(modelColumns, [...data.models], { column: null, up: true }));
