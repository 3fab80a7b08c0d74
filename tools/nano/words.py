"""English word lists for the sentence templates, and the regular inflections that widen them.

Every verb here is regular in the spelling rules below, every noun takes a regular plural: checked by eye,
not by a tool.
"""

THINGS = """
acorn album alarm anchor ankle antenna apron arrow axle badge bag balloon banner barrel basin basket bat
battery beacon bead beam bell belt bench bicycle blanket blind blossom boat bolt bonnet book boot bottle
boulder bowl box bracelet branch brick bridge broom brush bucket buckle bulb bundle button cabinet cable
cage camera candle canoe cape carpet cart carton castle ceiling chain chair chart chest chimney clock cloud
coat coin collar column compass copper cord cork corner costume cottage couch cradle crane crate crown cup
cupboard curtain cushion cylinder dagger dial diamond dish door dozen drawer dress drum engine envelope fan
feather fence fiddle filter finger flag flame flask flower flute fork fountain frame funnel furnace gadget
garment gate gem glove goblet gown grate guitar gutter hammer hammock handle harbor harp hat hatch heater
helmet hinge hook horn hose jacket jar jewel jug kettle key keyboard kite knot ladder lamp lantern latch
lawn ledge lens letter lever lid lock locket locker magnet mantle map marble mask mat mattress medal menu
meter mirror mitten mop motor mug nail napkin necklace needle net notebook novel oar oven package paddle
padlock page pail paint palace panel paper parcel pebble pedal pen pencil pendant photo piano picture pillar
pillow pin pipe pistol plank plate platform plug pocket pole portrait post poster pot pouch printer prize
propeller pump puppet purse puzzle quilt radio raft rail ramp razor record ribbon ring robe rocket rod roof
rope rug saddle sail satchel saucer scarf scooter screen screw seat shawl sheet shell shield ship shirt shoe
shovel signal sketch skirt sled slipper socket spade spear spoon spring stamp statue stick stone stool stove
strap string suitcase sweater sword table tablet tape teapot telescope tent thread throne ticket tile tool
torch towel tower toy tractor train trap tray trumpet trunk tube tunnel turbine umbrella uniform vase vault
vehicle veil vessel violin wagon wallet watch wheel whistle wig window wire wrench zipper
"""

LIVING = """
actor admiral agent alligator ant artist athlete author baker banker barber bear beaver bee beetle bird
boxer boy brother builder bull butler butterfly camel captain cat chef chicken clerk clown coach cook cousin
cow crab cricket crow dancer daughter dentist detective doctor dog dolphin donkey dragon driver duck duke
eagle editor elephant engineer expert falcon farmer father fisher friend frog gardener general ghost giant
girl goat golfer guard guest hamster hawk hero horse hunter inspector jester judge juggler kitten knight
lawyer leader lion lizard lobster magician major manager mayor mechanic merchant miller miner monkey mother
mule neighbor nephew niece nurse officer owl owner painter panther parent parrot partner peacock penguin
pigeon pilot pirate player plumber poet porter preacher prince printer prisoner producer professor puppy
queen rabbit raccoon rat raven reader reporter rider robin robot rooster sailor salmon scholar scientist
scout seal senator servant shark sheriff singer sister skater snail soldier spider squirrel stranger student
surgeon swan swimmer tailor teacher teenager tiger toad traveler trader tourist turtle twin uncle viking
villain visitor waiter walker walrus warrior weaver whale widow wizard worker worm writer zebra
"""

PLACES = """
abbey airport alley apartment arena attic bakery balcony bank barn basement bay beach border camp canal
canyon capital cavern cellar chapel church cinema city clinic coast college corridor country court courtyard
creek desert dock factory farm field forest fort gallery garage garden glacier grove hall harbor highway
hill hospital hotel house hut inn island jungle kitchen laboratory lagoon lake library lighthouse market
meadow mill mine monument mountain museum nest office orchard park parlor path pavilion pier plain planet
plaza pond port prairie prison province quarry ranch region restaurant ridge river road room route ruin
school shop shore sidewalk square stable stadium stage station stream street studio suburb summit swamp
temple terrace theater town trail valley village vineyard warehouse waterfall well yard zoo
"""

IDEAS = """
accident account action address advantage adventure advice agreement ambition anchor answer argument article
attempt balance battle belief benefit birthday budget calendar career celebration century challenge chance
change chapter choice circle claim color comment concert condition contest contract course crime custom
dance danger date deadline deal debate decade decision delay demand design detail dinner discovery distance
dream duty effect effort election emotion error event example excuse experiment failure fashion favor
feature feeling festival figure finger flavor flight fortune future game gesture goal habit handshake
holiday honor hour idea illness image income injury instinct interview invention invitation issue joke
journey judgment lecture legend lesson letter level limit logic loss meal meaning measure melody memory
message method minute mistake model moment month motion motive movement mystery myth name number object
occasion offer opinion option order origin pattern payment picture plan poem point policy portion position
power practice present pressure price problem process profit program project promise proof proposal purpose
quality quarrel question reason recipe record reform relation remark report request result reward rhythm
riddle rival rule rumor sample scandal scene schedule season second secret sentence service shadow shape
signal silence situation skill solution song sound speech spirit standard statement step storm story
strategy struggle style subject success suggestion summer surprise symbol system target task tax test theory
thought title tone topic tournament tradition treaty trick trouble truth vacation value version victory view
virtue vision visit vote voyage wage war warning weapon wedding week weekend winter wish wonder word year
"""

FOODS = """
almond apple apricot bacon bagel banana barley basil bean beef berry biscuit bread broth butter cabbage cake
candy caramel carrot celery cereal cheese cherry chili chocolate cider cinnamon cocoa coconut coffee cookie
corn cream cucumber curry custard dumpling garlic ginger grape gravy ham honey jam jelly juice ketchup lemon
lettuce lime mango maple melon milk mint muffin mushroom mustard noodle nut oat olive omelet onion orange
pancake pasta pastry peach peanut pear pepper pickle pie pizza plum popcorn pork potato pudding pumpkin
radish raisin rice salad salt sandwich sauce sausage seaweed soup spice spinach squash steak stew sugar
syrup tea toast tomato turkey turnip vanilla vinegar waffle walnut water yogurt
"""

MATERIALS = """
bamboo brass bronze canvas cedar clay cotton crystal denim felt fiber flannel foam glass gold granite iron
ivory lace lead leather linen marble metal nylon oak paper pearl pine plastic porcelain rubber sand satin
silk silver slate steel straw tin velvet wax wicker wood wool
"""

ADJECTIVES = """
able absent absurd active actual amber ancient angry awful awkward bare basic bitter blank blind blue bold
bored brave brief bright brilliant broad broken brown calm careful careless casual central certain cheap
cheerful chilly civil clean clear clever close clumsy coarse cold common complete complex cool costly crazy
crimson crooked cruel curious curly dangerous dark dear deep delicate dense desperate different difficult
dim direct distant double dry dull eager early elegant empty endless enormous equal exact excellent extra
faint fair familiar famous fancy fast fatal favorite fierce final fine firm flat fluffy foolish foreign
formal fragile frantic free frequent fresh friendly frozen full funny gentle genuine giant glad gloomy
golden good graceful grand gray great greedy green grim guilty handsome handy happy hard harsh heavy helpful
hidden high hollow holy honest hot huge humble hungry icy ideal idle innocent jealous jolly keen kind large
late lazy light likely little lively local lonely long loose loud lovely low loyal lucky mad magic main
major massive mature mean mellow mild minor modern modest muddy mute mysterious narrow nasty natural naughty
neat nervous new nice noble noisy normal odd official old open orange ordinary outer pale patient peaceful
perfect plain pleasant polite poor popular precious pretty private proper proud public pure purple quick
quiet random rapid rare ready real recent red regular remote rich ripe rough round royal rude rusty sad safe
salty scarlet secret selfish serious severe shallow sharp shiny short shy sick silent silly simple sincere
single sleepy slender slight slim slow small smart smooth soft solid sore sour special splendid square
steady steep stiff strange strict strong stubborn sudden sunny super sure sweet swift tall tame tender
terrible thick thin thirsty tidy tight tiny tired total tough tragic true typical ugly unique upper urgent
useful usual vague vast violent violet vital vivid warm weak wealthy weary weird wet white whole wicked wide
wild wise wonderful wooden worried yellow young
"""

# Regular verbs that take an object.
TRANSITIVE_VERBS = """
accept admire adopt alter announce approach arrange attack avoid balance bake bless blame boil borrow bother
brush capture carry carve cause celebrate challenge change charge chase check claim clean climb close
collect color comfort compare complete confuse connect consider copy count cover crash create cross crush
cure damage decorate defend delay deliver demand deny describe deserve design desire destroy discover
discuss display divide doubt dust empty enjoy enter examine expect explain explore fasten fetch file fill
finish fix fold follow force frame gather greet guard guess guide handle hate help hire hunt identify ignore
imagine improve include inform injure inspect introduce invent invite iron join judge kick kiss label launch
lift like load lock love lower manage mark match measure mend mention miss mix move name need notice obey
observe obtain offer open order own pack paint park pass pick place polish pour praise prepare present press
prevent print produce promise protect provide pull push question raise reach recall receive record reduce
refuse reject release remember remind remove repair repeat replace report request rescue return reveal
review roll ruin satisfy save scare scatter scratch search serve settle shape share shift signal smell solve
spill squeeze stain stamp steer store study suggest supply support surprise surround suspect switch taste
tease test thank tickle touch trace trade train treat trust turn twist type unlock use utter visit wash
waste watch water weigh welcome whisper wipe
"""

INTRANSITIVE_VERBS = """
agree answer appear argue arrive behave blush bounce breathe chuckle complain cough cry dance decide depart
disappear dive dream drift explode fade faint fail flash float frown gallop gasp giggle glow groan hesitate
hurry jump land laugh learn linger listen march moan pause play practice quarrel race rain reply rest return
sail scream shiver shout sigh smile sneeze snore sparkle stare stay struggle succeed suffer surrender talk
travel tremble vanish vote wait walk wander whistle wink wonder work worry yawn yell
"""

ADVERBS = """
again already always anyway barely certainly clearly early easily eventually finally gently gladly happily
hardly honestly indeed instead lately maybe nearly never now often once perhaps politely probably quickly
quietly rarely really sadly seldom silently simply slowly softly somehow sometimes soon still suddenly
surely today together tomorrow tonight twice usually yesterday
"""

NAMES = """
Aaron Abigail Adam Agnes Albert Alice Amelia Amy Andrew Angela Anthony Arthur Barbara Benjamin Betty Brian
Carla Caroline Catherine Charles Charlotte Chloe Christopher Clara Daniel David Deborah Dennis Diana Donald
Dorothy Douglas Edward Eleanor Elizabeth Ellen Emily Emma Eric Ethan Evelyn Felix Fiona Florence Frances
Frank Frederick George Gloria Grace Gregory Hannah Harold Harriet Harry Hazel Helen Henry Howard Hugo Irene
Isaac Isabel Jacob James Janet Jason Jennifer Jessica Joan Jonathan Joseph Joyce Julia Karen Katherine Keith
Kenneth Kevin Laura Lawrence Leonard Lewis Linda Louis Lucy Margaret Maria Mark Martha Martin Matthew
Melissa Michael Molly Nancy Natalie Nathan Nicholas Nora Norman Oliver Oscar Pamela Patricia Patrick Paul
Peter Philip Rachel Ralph Raymond Rebecca Richard Robert Roger Ronald Rosa Ruth Samuel Sandra Sarah Scott
Sharon Simon Sophia Stanley Stella Stephen Steven Susan Sylvia Teresa Theodore Thomas Timothy Tina Ursula
Victor Vincent Virginia Walter Wendy William Zoe
"""

TOWNS = """
Amsterdam Athens Atlanta Baltimore Barcelona Berlin Boston Brussels Cairo Chicago Copenhagen Dallas Denver
Detroit Dublin Edinburgh Florence Geneva Glasgow Hamburg Helsinki Houston Istanbul Jakarta Kansas Lisbon
London Madrid Manchester Melbourne Memphis Miami Milan Montreal Moscow Munich Nairobi Naples Oslo Oxford
Paris Phoenix Portland Prague Rome Seattle Shanghai Stockholm Sydney Texas Tokyo Toronto Venice Vienna
Warsaw Wellington Zurich
"""

NUMBERS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
"""

TIMES = """
Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August
September October November December morning noon evening midnight sunrise sunset
"""


def words(text: str) -> list[str]:
    """The words of one list above."""
    return text.split()


def plural(noun: str) -> str:
    """Regular plural: fox -> foxes, city -> cities, boy -> boys."""
    return _with_s(noun)


def third_person(verb: str) -> str:
    """Regular third person: watch -> watches, carry -> carries."""
    return _with_s(verb)


def past(verb: str) -> str:
    """Regular past: like -> liked, carry -> carried, walk -> walked."""
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if _ends_in_consonant_y(verb) else verb + "ed"


def gerund(verb: str) -> str:
    """Regular -ing form: like -> liking, agree -> agreeing, walk -> walking."""
    return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb) + "ing"


def adverb(adjective: str) -> str:
    """Regular -ly form: happy -> happily, simple -> simply, basic -> basically, full -> fully."""
    if adjective.endswith("ic") and adjective != "public":
        return adjective + "ally"
    if adjective == "true" or (adjective.endswith("le") and adjective[-3] not in "aeiou"):
        return adjective[:-1] + "y" if adjective != "true" else "truly"
    if adjective.endswith("ll"):
        return adjective + "y"
    return adjective[:-1] + "ily" if _ends_in_consonant_y(adjective) else adjective + "ly"


def _with_s(word: str) -> str:
    if _ends_in_consonant_y(word):
        return word[:-1] + "ies"
    if word in {"hero", "mango", "potato", "tomato"}:
        return word + "es"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _ends_in_consonant_y(word: str) -> bool:
    return word.endswith("y") and len(word) > 1 and word[-2] not in "aeiou"
