"""Facts and word lists that the questions are made of. Plain common knowledge, typed in by hand."""


def _rows(text):
    """One tuple a line, fields between bars."""
    return [tuple(field.strip() for field in line.split("|")) for line in text.strip().splitlines()]


def _pairs(text):
    """Pairs written as a:b, between spaces."""
    return [tuple(pair.split(":")) for pair in text.split()]


# country | capital | continent | currency | main language
COUNTRIES = _rows(
    """
France|Paris|Europe|euro|French
Germany|Berlin|Europe|euro|German
Spain|Madrid|Europe|euro|Spanish
Italy|Rome|Europe|euro|Italian
Portugal|Lisbon|Europe|euro|Portuguese
Greece|Athens|Europe|euro|Greek
Austria|Vienna|Europe|euro|German
Ireland|Dublin|Europe|euro|English
Belgium|Brussels|Europe|euro|Dutch
Finland|Helsinki|Europe|euro|Finnish
Estonia|Tallinn|Europe|euro|Estonian
Latvia|Riga|Europe|euro|Latvian
Lithuania|Vilnius|Europe|euro|Lithuanian
Slovakia|Bratislava|Europe|euro|Slovak
Slovenia|Ljubljana|Europe|euro|Slovene
Croatia|Zagreb|Europe|euro|Croatian
Malta|Valletta|Europe|euro|Maltese
Cyprus|Nicosia|Europe|euro|Greek
Luxembourg|Luxembourg City|Europe|euro|Luxembourgish
Netherlands|Amsterdam|Europe|euro|Dutch
Poland|Warsaw|Europe|zloty|Polish
Czechia|Prague|Europe|koruna|Czech
Hungary|Budapest|Europe|forint|Hungarian
Romania|Bucharest|Europe|leu|Romanian
Bulgaria|Sofia|Europe|euro|Bulgarian
Serbia|Belgrade|Europe|dinar|Serbian
Albania|Tirana|Europe|lek|Albanian
Iceland|Reykjavik|Europe|krona|Icelandic
Norway|Oslo|Europe|krone|Norwegian
Sweden|Stockholm|Europe|krona|Swedish
Denmark|Copenhagen|Europe|krone|Danish
Switzerland|Bern|Europe|franc|German
Ukraine|Kyiv|Europe|hryvnia|Ukrainian
Belarus|Minsk|Europe|ruble|Belarusian
Russia|Moscow|Europe|ruble|Russian
Moldova|Chisinau|Europe|leu|Romanian
Montenegro|Podgorica|Europe|euro|Montenegrin
North Macedonia|Skopje|Europe|denar|Macedonian
United Kingdom|London|Europe|pound|English
Turkey|Ankara|Asia|lira|Turkish
Georgia|Tbilisi|Asia|lari|Georgian
Armenia|Yerevan|Asia|dram|Armenian
Azerbaijan|Baku|Asia|manat|Azerbaijani
Israel|Jerusalem|Asia|shekel|Hebrew
Jordan|Amman|Asia|dinar|Arabic
Lebanon|Beirut|Asia|pound|Arabic
Syria|Damascus|Asia|pound|Arabic
Iraq|Baghdad|Asia|dinar|Arabic
Iran|Tehran|Asia|rial|Persian
Saudi Arabia|Riyadh|Asia|riyal|Arabic
Kuwait|Kuwait City|Asia|dinar|Arabic
Qatar|Doha|Asia|riyal|Arabic
Oman|Muscat|Asia|rial|Arabic
Yemen|Sanaa|Asia|rial|Arabic
Afghanistan|Kabul|Asia|afghani|Pashto
Pakistan|Islamabad|Asia|rupee|Urdu
India|New Delhi|Asia|rupee|Hindi
Nepal|Kathmandu|Asia|rupee|Nepali
Bhutan|Thimphu|Asia|ngultrum|Dzongkha
Bangladesh|Dhaka|Asia|taka|Bengali
Sri Lanka|Colombo|Asia|rupee|Sinhala
Myanmar|Naypyidaw|Asia|kyat|Burmese
Thailand|Bangkok|Asia|baht|Thai
Laos|Vientiane|Asia|kip|Lao
Cambodia|Phnom Penh|Asia|riel|Khmer
Vietnam|Hanoi|Asia|dong|Vietnamese
Malaysia|Kuala Lumpur|Asia|ringgit|Malay
Indonesia|Jakarta|Asia|rupiah|Indonesian
Philippines|Manila|Asia|peso|Filipino
China|Beijing|Asia|yuan|Chinese
Mongolia|Ulaanbaatar|Asia|tugrik|Mongolian
Japan|Tokyo|Asia|yen|Japanese
South Korea|Seoul|Asia|won|Korean
North Korea|Pyongyang|Asia|won|Korean
Kazakhstan|Astana|Asia|tenge|Kazakh
Uzbekistan|Tashkent|Asia|som|Uzbek
Kyrgyzstan|Bishkek|Asia|som|Kyrgyz
Tajikistan|Dushanbe|Asia|somoni|Tajik
Egypt|Cairo|Africa|pound|Arabic
Libya|Tripoli|Africa|dinar|Arabic
Tunisia|Tunis|Africa|dinar|Arabic
Algeria|Algiers|Africa|dinar|Arabic
Morocco|Rabat|Africa|dirham|Arabic
Sudan|Khartoum|Africa|pound|Arabic
Ethiopia|Addis Ababa|Africa|birr|Amharic
Somalia|Mogadishu|Africa|shilling|Somali
Kenya|Nairobi|Africa|shilling|Swahili
Uganda|Kampala|Africa|shilling|English
Tanzania|Dodoma|Africa|shilling|Swahili
Rwanda|Kigali|Africa|franc|Kinyarwanda
Nigeria|Abuja|Africa|naira|English
Ghana|Accra|Africa|cedi|English
Senegal|Dakar|Africa|franc|French
Mali|Bamako|Africa|franc|French
Niger|Niamey|Africa|franc|French
Chad|Ndjamena|Africa|franc|French
Cameroon|Yaounde|Africa|franc|French
Gabon|Libreville|Africa|franc|French
Angola|Luanda|Africa|kwanza|Portuguese
Mozambique|Maputo|Africa|metical|Portuguese
Zambia|Lusaka|Africa|kwacha|English
Zimbabwe|Harare|Africa|dollar|English
Botswana|Gaborone|Africa|pula|English
Namibia|Windhoek|Africa|dollar|English
South Africa|Pretoria|Africa|rand|English
Madagascar|Antananarivo|Africa|ariary|Malagasy
Liberia|Monrovia|Africa|dollar|English
Gambia|Banjul|Africa|dalasi|English
Canada|Ottawa|North America|dollar|English
United States|Washington|North America|dollar|English
Mexico|Mexico City|North America|peso|Spanish
Guatemala|Guatemala City|North America|quetzal|Spanish
Honduras|Tegucigalpa|North America|lempira|Spanish
Nicaragua|Managua|North America|cordoba|Spanish
Costa Rica|San Jose|North America|colon|Spanish
Panama|Panama City|North America|balboa|Spanish
Cuba|Havana|North America|peso|Spanish
Jamaica|Kingston|North America|dollar|English
Haiti|Port-au-Prince|North America|gourde|French
Colombia|Bogota|South America|peso|Spanish
Venezuela|Caracas|South America|bolivar|Spanish
Ecuador|Quito|South America|dollar|Spanish
Peru|Lima|South America|sol|Spanish
Bolivia|La Paz|South America|boliviano|Spanish
Chile|Santiago|South America|peso|Spanish
Argentina|Buenos Aires|South America|peso|Spanish
Uruguay|Montevideo|South America|peso|Spanish
Paraguay|Asuncion|South America|guarani|Spanish
Brazil|Brasilia|South America|real|Portuguese
Australia|Canberra|Oceania|dollar|English
New Zealand|Wellington|Oceania|dollar|English
Fiji|Suva|Oceania|dollar|English
Samoa|Apia|Oceania|tala|Samoan
Tonga|Nukualofa|Oceania|paanga|Tongan
"""
)

# animal | sound | legs | home | young | group
ANIMALS = _rows(
    """
dog|bark|4|a house|puppy|mammal
cat|meow|4|a house|kitten|mammal
cow|moo|4|a farm|calf|mammal
horse|neigh|4|a stable|foal|mammal
sheep|bleat|4|a farm|lamb|mammal
pig|oink|4|a farm|piglet|mammal
goat|bleat|4|a farm|kid|mammal
lion|roar|4|the savanna|cub|mammal
tiger|roar|4|the forest|cub|mammal
bear|growl|4|the forest|cub|mammal
wolf|howl|4|the forest|pup|mammal
fox|bark|4|the forest|kit|mammal
elephant|trumpet|4|the savanna|calf|mammal
monkey|chatter|4|the jungle|infant|mammal
mouse|squeak|4|a hole|pup|mammal
donkey|bray|4|a farm|foal|mammal
deer|grunt|4|the forest|fawn|mammal
kangaroo|cluck|2|the grassland|joey|mammal
whale|sing|0|the sea|calf|mammal
dolphin|click|0|the sea|calf|mammal
seal|bark|0|the sea|pup|mammal
bat|squeak|2|a cave|pup|mammal
duck|quack|2|a pond|duckling|bird
goose|honk|2|a pond|gosling|bird
hen|cluck|2|a farm|chick|bird
rooster|crow|2|a farm|chick|bird
owl|hoot|2|a tree|owlet|bird
crow|caw|2|a tree|chick|bird
pigeon|coo|2|the city|squab|bird
swan|hiss|2|a lake|cygnet|bird
eagle|screech|2|the mountains|eaglet|bird
parrot|squawk|2|the jungle|chick|bird
penguin|squawk|2|the ice|chick|bird
frog|croak|4|a pond|tadpole|amphibian
snake|hiss|0|the grass|snakelet|reptile
crocodile|growl|4|a river|hatchling|reptile
lizard|chirp|4|the desert|hatchling|reptile
turtle|hiss|4|the sea|hatchling|reptile
bee|buzz|6|a hive|larva|insect
fly|buzz|6|the air|maggot|insect
cricket|chirp|6|the grass|nymph|insect
ant|click|6|a nest|larva|insect
butterfly|click|6|a garden|caterpillar|insect
spider|hiss|8|a web|spiderling|arachnid
salmon|grunt|0|a river|fry|fish
shark|nothing|0|the sea|pup|fish
"""
)


OPPOSITES = _pairs(
    """hot:cold big:small tall:short fast:slow happy:sad light:dark day:night up:down left:right
open:closed full:empty wet:dry hard:soft old:new early:late good:bad rich:poor strong:weak loud:quiet clean:dirty
high:low long:short near:far thick:thin wide:narrow heavy:light deep:shallow easy:difficult cheap:expensive
first:last inside:outside true:false win:lose buy:sell push:pull start:stop give:take love:hate laugh:cry
arrive:leave remember:forget awake:asleep alive:dead brave:afraid sweet:bitter smooth:rough sharp:blunt
young:old hungry:full polite:rude safe:dangerous same:different always:never more:less front:back top:bottom
summer:winter north:south east:west begin:end ask:answer accept:refuse increase:decrease"""
)
SYNONYMS = _pairs(
    """big:large small:little happy:glad sad:unhappy fast:quick smart:clever begin:start end:finish
angry:mad pretty:beautiful quiet:silent scared:afraid tired:sleepy rich:wealthy ill:sick hard:difficult easy:simple
gift:present shout:yell jump:leap look:watch talk:speak fix:repair help:assist buy:purchase choose:pick shut:close
funny:amusing kind:nice strange:odd correct:right wrong:incorrect near:close brave:bold house:home road:street
boat:ship stone:rock rabbit:bunny error:mistake job:work trip:journey answer:reply"""
)
PLURALS = _pairs(
    """cat:cats dog:dogs book:books car:cars tree:trees apple:apples box:boxes bus:buses dish:dishes
fox:foxes watch:watches glass:glasses city:cities baby:babies berry:berries story:stories party:parties lady:ladies
leaf:leaves knife:knives wolf:wolves shelf:shelves half:halves life:lives wife:wives man:men woman:women child:children
foot:feet tooth:teeth goose:geese mouse:mice person:people ox:oxen sheep:sheep fish:fish deer:deer potato:potatoes
tomato:tomatoes hero:heroes piano:pianos photo:photos key:keys toy:toys day:days boy:boys monkey:monkeys house:houses
table:tables lamp:lamps cup:cups flower:flowers bird:birds brush:brushes class:classes bench:benches star:stars"""
)
PAST = _pairs(
    """go:went eat:ate see:saw run:ran write:wrote sing:sang swim:swam drink:drank give:gave take:took make:made
come:came buy:bought bring:brought think:thought catch:caught teach:taught sleep:slept keep:kept feel:felt leave:left
find:found tell:told sell:sold say:said pay:paid break:broke speak:spoke choose:chose drive:drove ride:rode rise:rose
fly:flew grow:grew know:knew throw:threw draw:drew begin:began win:won lose:lost send:sent build:built spend:spent
walk:walked play:played work:worked jump:jumped talk:talked look:looked help:helped clean:cleaned cook:cooked
open:opened close:closed love:loved live:lived stop:stopped plan:planned try:tried cry:cried study:studied carry:carried"""
)
COLOURS = [
    tuple(x.split(":"))
    for x in """the sky:blue;grass:green;snow:white;coal:black;a banana:yellow;a tomato:red;
an orange:orange;a carrot:orange;milk:white;a lemon:yellow;blood:red;chocolate:brown;a strawberry:red;a cucumber:green;
an elephant:grey;a flamingo:pink;the sun:yellow;a plum:purple;a leaf:green;the night sky:black;an egg yolk:yellow;
a cherry:red;a frog:green;a polar bear:white;a crow:black;butter:yellow;a fire truck:red;a pumpkin:orange;
a lavender flower:purple;a pea:green;salt:white;an eggplant:purple;a pig:pink;coffee:brown;the sea:blue;a blueberry:blue""".replace(
        "\n", ""
    ).split(
        ";"
    )
]
MIX = [
    ("blue", "yellow", "green"),
    ("red", "yellow", "orange"),
    ("red", "blue", "purple"),
    ("red", "white", "pink"),
    ("black", "white", "grey"),
    ("red", "green", "brown"),
]
CATS = {  # category -> members
    "fruit": "apple banana orange pear grape cherry plum peach mango kiwi lemon melon strawberry pineapple apricot fig",
    "vegetable": "carrot potato onion cabbage spinach broccoli pea lettuce leek radish turnip celery beetroot cauliflower",
    "animal": "dog cat horse lion tiger bear wolf monkey elephant rabbit sheep goat whale frog snake owl duck eagle",
    "tool": "hammer saw drill screwdriver wrench pliers axe shovel rake chisel",
    "vehicle": "car bus train bicycle truck boat plane tram scooter ferry helicopter motorbike",
    "colour": "red blue green yellow purple orange pink brown black white grey",
    "instrument": "piano guitar violin drum flute trumpet harp cello clarinet banjo",
    "garment": "shirt coat hat scarf glove sock dress skirt jacket sweater belt",
    "drink": "water tea coffee milk juice lemonade cocoa",
    "sport": "football tennis hockey basketball swimming rowing golf skiing cricket volleyball",
    "job": "teacher doctor baker farmer nurse pilot painter plumber lawyer cook driver carpenter",
    "piece of furniture": "table chair sofa bed desk shelf wardrobe stool cupboard bench",
}
CATS = {k: v.split() for k, v in CATS.items()}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MLEN = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
NUMW = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
NAMES = """Ana Ben Carla David Emma Felix Grace Hugo Ida Jack Karin Leo Maria Nora Oscar Paula Quinn Rosa Sam Tina Umar Vera
Will Xenia Yara Zoe Adam Bella Chris Diana Erik Fatima Georg Hanna Ivan Julia Kofi Lena Marco Nina Omar Petra Ravi Sara Tom
Ursula Victor Wendy Yusuf Alice Bruno Clara Dora Elif Frank Gina Henry Iris Jonas Kate Lucas Mia Noah Olga Peter Rita Simon
Tara Uma Vincent Anton Berta Cora Derek Ella Finn Gloria Hassan Ines Jan Kim Lily Max Nadia Otto Pia Robin Sofia Theo
Amira Boris Chloe Dario Eva Fred Greta Hector Irene Jamal Klara Linus Marta Nils Oliver Polly Rafael Stella Tariq""".split()
ITEMS = _pairs(
    """lamp:lamps chair:chairs table:tables mug:mugs plate:plates bowl:bowls pillow:pillows blanket:blankets towel:towels
candle:candles vase:vases mirror:mirrors clock:clocks basket:baskets notebook:notebooks pen:pens bag:bags hat:hats
scarf:scarves shirt:shirts jacket:jackets sock:socks book:books bottle:bottles umbrella:umbrellas rug:rugs kettle:kettles
pan:pans spoon:spoons box:boxes backpack:backpacks wallet:wallets bicycle:bicycles tent:tents ball:balls"""
)
ADJ = "red blue green yellow black white grey brown pink purple orange small large".split()
CITIES = """Paris Berlin Madrid Rome Lisbon Oslo Vienna Prague London Dublin Cairo Tokyo Lima Quito Boston Chicago Toronto
Sydney Mumbai Nairobi Seoul Geneva Porto Leeds Bergen Malmo Turin Lyon Graz Basel""".split()
