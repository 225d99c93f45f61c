[drawChoices, drawGroups, drawTrade, drawRanks, drawAgreement, drawHeat, drawSwarm, drawEffects].forEach((one) => one());
if (analysis.models.length) into("model-table", sortable(modelColumns, [...analysis.models], { column: null, up: true }));
