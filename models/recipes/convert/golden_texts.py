"""Short, varied texts of our own for golden files: none is taken from a data set."""

from __future__ import annotations

LONG = (
    "The ferry leaves Harwich at seven, or so the woman at the desk told us, and by the time "
    "the lorries were loaded it was nearer nine. My sister Ingrid had packed sandwiches, two "
    "flasks of tea and a map of Jutland on which somebody had marked every bakery between "
    "Esbjerg and Aarhus. We sat on deck until the wind became unpleasant. A retired surveyor "
    "from Norwich explained to us how he had once measured the same hill four times and found "
    "four different heights; the company, he said, printed the average and nobody complained. "
    "In the evening the lights of the coast went out one after the other, the engine changed "
    "its note, and the children who had been running along the corridors all day fell asleep "
    "against their luggage. I thought about the letter in my pocket. It came from a museum in "
    "Copenhagen that wanted to buy my grandfather's notebooks, all thirty-one of them, with "
    "their drawings of seaweed and their lists of debts. The sum was generous and the tone was "
    "kind, but I could not decide, and Ingrid refused to help. At dawn we ate the last of the "
    "bread, a grey harbour appeared between two showers, and the surveyor shook our hands as "
    "if we had all survived something together. Then the doors opened and everybody drove off "
    "in different directions without looking back."
)

GOLDEN_TEXTS = (
    "Maria Keller flew from Lisbon to Toronto on Monday.",
    "What a wonderful evening, everything was perfect!",
    "The soup was cold and the waiter was rude.",
    "ok",
    "Reset my password, please.",
    "How far is it from the station to the old harbour?",
    "I expected little and got even less 😡",
    "Best concert of my life 🎻✨ thank you Göteborg!",
    "Zoë Brontë ordered a café crème in Málaga, naïvely assuming it was free.",
    "Das Fahrrad gehört Jürgen Müller aus Köln.",
    "東京の天気は今日とても良いです。",
    "我们下周去北京开会。",
    "Анна живёт в Самаре и работает в банке.",
    "Prices rose 3.7% to €12.50 (up from €12.05) on 2024-03-18.",
    "The engineers at Northwind Turbines met Aisha Rahman in Nairobi.",
    "NASA AND THE BBC ARE BOTH FOUR LETTERS OR FEWER.",
    "not bad, not bad at all",
    "I can't say that I'd watch it again, though the first half wasn't terrible.",
    "def area(r): return 3.14159 * r ** 2",
    "See https://example.org/a/b?c=1#d or write to help@example.org.",
    "   spaces\tand\nline breaks   everywhere   ",
    "Donaudampfschifffahrtsgesellschaftskapitän floccinaucinihilipilification",
    "A 👩‍👩‍👧‍👦 family moved from Kraków to São Paulo; Łukasz and João met them.",
    LONG,
)
