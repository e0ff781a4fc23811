"""A dozen short texts on a dozen subjects, and questions that some of them answer."""

from __future__ import annotations

from langchain_core.documents import Document

TEXTS = {
    "volcano": "A volcano erupts when molten rock, called magma, rises through cracks in the crust of the earth.",
    "honey": "Honey bees dance inside the hive to tell other bees where flowers with nectar can be found.",
    "bread": "Bread rises because yeast eats sugar in the dough and gives off bubbles of carbon dioxide.",
    "tides": "The tides of the ocean are caused mostly by the gravity of the moon, and partly by that of the sun.",
    "printing": "The printing press with movable type spread through Europe in the fifteenth century.",
    "lungs": "Lungs bring oxygen into the blood and carry carbon dioxide out of the body with every breath.",
    "glass": "Glass is made by melting sand together with soda and lime at a very high temperature.",
    "chess": "In chess the queen moves any number of squares along a row, a column or a diagonal.",
    "rainbow": "A rainbow appears when sunlight is bent and reflected inside drops of rain.",
    "camel": "Camels store fat in their humps, which lets them go without food for weeks in the desert.",
    "violin": "The strings of a violin are tuned in fifths, and the bow is strung with the hair of a horse.",
    "moon": "The moon always shows the same face to the earth because it turns once during each orbit.",
}

QUESTIONS = [
    "What causes the tides of the ocean?",
    "Why does bread rise?",
    "How do bees tell other bees where flowers are?",
    "Which gas do lungs carry out of the body?",
    "When does a volcano erupt?",
]


def documents() -> list[Document]:
    """New documents at every call, so that no test sees what another did to them."""
    return [
        Document(page_content=text, id=name, metadata={"source": f"{name}.txt", "page": page})
        for page, (name, text) in enumerate(TEXTS.items())
    ]
