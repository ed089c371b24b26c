"""Questions with all their phrasings, and their answers, typed in by hand.

A row is: phrasings between semicolons (those marked ~ are held out) | answer | short answer.
DEFS are term | definition, and HOWTO are task | step | step | ...
"""


def _rows(text):
    """One tuple a line, fields between bars."""
    return [tuple(line.split("|")) for line in text.strip().splitlines()]


DEFS = _rows(
    """
a hammer|a tool used to hit nails
a saw|a tool used to cut wood
a kettle|a pot used to boil water
an oven|a kitchen device used to bake and roast food
a fridge|a machine that keeps food cold
a pillow|a soft cushion for the head
a bicycle|a vehicle with two wheels and pedals
a train|a vehicle that runs on rails
a boat|a vehicle that floats on water
a bridge|a structure that crosses a river or a road
a library|a place where people borrow books
a museum|a place that shows art and old things
a hospital|a place where sick people are treated
a school|a place where children learn
a bakery|a shop that sells bread and cakes
a farm|a place where crops and animals are raised
a river|a long stream of water that flows to the sea
a lake|a large area of water with land around it
an island|a piece of land with water all around it
a mountain|a very high piece of land
a desert|a dry place with very little rain
a forest|a large area covered with trees
a volcano|a mountain that can throw out hot rock and ash
a glacier|a large mass of ice that moves slowly
a planet|a large round body that travels around a star
a star|a huge ball of hot gas that gives light
the moon|the round body that travels around the Earth
the sun|the star at the centre of our solar system
rain|water that falls from the clouds
snow|frozen water that falls from the clouds
wind|air that moves
fog|a cloud close to the ground
ice|frozen water
steam|water in the form of gas
a cloud|a mass of tiny water drops in the sky
a rainbow|an arc of colours made by sunlight and rain
a computer|a machine that stores and processes information
a keyboard|a set of keys used to type
a printer|a machine that puts text and pictures on paper
a server|a computer that gives services to other computers
a password|a secret word that protects an account
a file|a named piece of data stored on a computer
a database|an organised store of data
a program|a set of instructions for a computer
an algorithm|a list of clear steps that solves a problem
a bug|a mistake in a program
a website|a group of pages on the internet
an email|a message sent from one computer to another
a language model|a program that predicts the next word of a text
a token|a small piece of text that a language model reads
an adapter|a small set of extra weights that changes how a model behaves
a doctor|a person who treats sick people
a teacher|a person who helps others learn
a baker|a person who makes bread and cakes
a farmer|a person who grows food
a pilot|a person who flies planes
a plumber|a person who repairs water pipes
a carpenter|a person who makes things from wood
an author|a person who writes books
an engineer|a person who designs and builds things
bread|a food made from flour, water and yeast
cheese|a food made from milk
butter|a soft yellow food made from cream
honey|a sweet food made by bees
a salad|a cold dish of mixed vegetables
soup|a liquid food made by cooking things in water
an apple|a round fruit that grows on trees
a carrot|an orange root vegetable
rice|a grain that is eaten in many countries
a violin|a musical instrument with four strings
a piano|a musical instrument with black and white keys
a drum|a musical instrument that you hit
a novel|a long story in a book
a poem|a short text that often has rhythm and rhyme
a map|a drawing that shows where places are
a compass|a device that shows where north is
a clock|a device that shows the time
a thermometer|a device that measures temperature
a telescope|a device used to look at far away things
a microscope|a device used to look at very small things
an umbrella|a cover that keeps you dry in the rain
a ladder|a set of steps used to climb up
a key|a piece of metal that opens a lock
a coin|a round piece of metal money
a triangle|a shape with three sides
a square|a shape with four equal sides
a circle|a perfectly round shape
a century|a period of one hundred years
a decade|a period of ten years
gravity|the force that pulls things towards the ground
friendship|a close bond between people who like each other
a mammal|an animal that feeds its young with milk
an insect|a small animal with six legs
a reptile|a cold-blooded animal with scales
a bird|an animal with feathers and wings
a fish|an animal that lives in water and has gills
a seed|the part of a plant that can grow into a new plant
a root|the part of a plant that takes water from the soil
"""
)

# question forms (";" separated, "~" = held-out phrasing) | sentence | short answer
MISC = _rows(
    """
How many days are in a week?;How many days does a week have?;~A week has how many days?|A week has seven days.|Seven
How many months are in a year?;How many months does a year have?;~A year has how many months?|A year has twelve months.|Twelve
How many hours are in a day?;How many hours does a day have?;~A day has how many hours?|A day has 24 hours.|24
How many minutes are in an hour?;How many minutes does an hour have?;~An hour has how many minutes?|An hour has 60 minutes.|60
How many seconds are in a minute?;How many seconds does a minute have?;~A minute has how many seconds?|A minute has 60 seconds.|60
How many days are in a year?;How many days does a year have?;~A year has how many days?|A year has 365 days.|365
How many seasons are there?;How many seasons does a year have?|There are four seasons.|Four
Name the four seasons.;What are the seasons?;List the seasons of the year.|The seasons are spring, summer, autumn and winter.|Spring, summer, autumn, winter
How many letters are in the alphabet?;How many letters does the English alphabet have?|The English alphabet has 26 letters.|26
How many continents are there?;What is the number of continents?|There are seven continents.|Seven
What is the largest planet?;Which planet is the biggest?;Name the largest planet in the solar system.;~What is the biggest planet of all?|The largest planet is Jupiter.|Jupiter
What is the smallest planet?;Which planet is the smallest?|The smallest planet is Mercury.|Mercury
Which planet is closest to the sun?;What planet is nearest to the sun?|The planet closest to the sun is Mercury.|Mercury
Which planet is known as the red planet?;What is the red planet?|The red planet is Mars.|Mars
Which planet has big rings?;What planet is famous for its rings?|The planet with big rings is Saturn.|Saturn
On which planet do we live?;What planet do we live on?|We live on the Earth.|Earth
How many planets are in the solar system?;How many planets go around the sun?|There are eight planets in the solar system.|Eight
What is the largest ocean?;Which ocean is the biggest?;Name the largest ocean.;~Tell me the biggest ocean.|The largest ocean is the Pacific Ocean.|Pacific
What is the highest mountain?;Which mountain is the tallest?;Name the highest mountain in the world.|The highest mountain is Mount Everest.|Everest
What is the largest country?;Which country is the biggest by area?|The largest country by area is Russia.|Russia
What is the largest animal?;Which animal is the biggest?;Name the biggest animal.|The largest animal is the blue whale.|Blue whale
What is the tallest animal?;Which animal is the tallest?|The tallest animal is the giraffe.|Giraffe
What is the fastest land animal?;Which land animal runs the fastest?|The fastest land animal is the cheetah.|Cheetah
What do bees make?;What is made by bees?;What food do bees produce?|Bees make honey.|Honey
What do cows give us to drink?;Which drink comes from cows?|Cows give us milk.|Milk
What do hens lay?;What do chickens lay?|Hens lay eggs.|Eggs
What do plants need to grow?;What does a plant need?|Plants need water, light and air.|Water, light, air
At what temperature does water boil?;When does water boil?;~What is the boiling point of water?|Water boils at 100 degrees Celsius.|100
At what temperature does water freeze?;When does water freeze?;~What is the freezing point of water?|Water freezes at 0 degrees Celsius.|0
What is frozen water called?;What do we call frozen water?|Frozen water is called ice.|Ice
What gas do we breathe?;Which gas do people need to breathe?|We breathe oxygen.|Oxygen
What is bread made of?;What do you need to make bread?|Bread is made of flour, water and yeast.|Flour, water, yeast
What is cheese made of?;What is cheese made from?|Cheese is made from milk.|Milk
What is paper made of?;What is paper made from?|Paper is made from wood.|Wood
What is glass made of?;What is glass made from?|Glass is made from sand.|Sand
Where does the sun rise?;In which direction does the sun come up?|The sun rises in the east.|East
Where does the sun set?;In which direction does the sun go down?|The sun sets in the west.|West
What is the opposite direction of north?;Which direction is opposite to north?|The opposite of north is south.|South
How many sides does a triangle have?;A triangle has how many sides?|A triangle has three sides.|Three
How many sides does a square have?;A square has how many sides?|A square has four sides.|Four
How many sides does a hexagon have?;A hexagon has how many sides?|A hexagon has six sides.|Six
How many wheels does a car have?;A car has how many wheels?|A car has four wheels.|Four
How many wheels does a bicycle have?;A bicycle has how many wheels?|A bicycle has two wheels.|Two
How many fingers are on one hand?;How many fingers does a hand have?|A hand has five fingers.|Five
How many eyes do people have?;How many eyes does a person have?|A person has two eyes.|Two
What do we see with?;Which part of the body do we see with?|We see with our eyes.|Eyes
What do we hear with?;Which part of the body do we hear with?|We hear with our ears.|Ears
What do we smell with?;Which part of the body do we smell with?|We smell with our nose.|Nose
Which organ pumps blood?;What pumps blood through the body?|The heart pumps blood.|Heart
How many centimetres are in a metre?;A metre is how many centimetres?|A metre has 100 centimetres.|100
How many metres are in a kilometre?;A kilometre is how many metres?|A kilometre has 1000 metres.|1000
How many grams are in a kilogram?;A kilogram is how many grams?|A kilogram has 1000 grams.|1000
What is the first month of the year?;Which month comes first?|The first month of the year is January.|January
What is the last month of the year?;Which month comes last?|The last month of the year is December.|December
Which month is the shortest?;What is the shortest month?|The shortest month is February.|February
What is H2O?;What does H2O mean?|H2O is water.|Water
What is the metal symbol Au?;Which metal has the symbol Au?|Au is the symbol of gold.|Gold
What is the metal symbol Fe?;Which metal has the symbol Fe?|Fe is the symbol of iron.|Iron
What colours are in a rainbow?;Name the colours of the rainbow.|The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.|Red, orange, yellow, green, blue, indigo, violet
What are the primary colours?;Name the three primary colours.|The primary colours are red, yellow and blue.|Red, yellow, blue
What meal do people eat in the morning?;Which meal is eaten in the morning?|People eat breakfast in the morning.|Breakfast
What meal do people eat at noon?;Which meal is eaten at noon?|People eat lunch at noon.|Lunch
What meal do people eat in the evening?;Which meal is eaten in the evening?|People eat dinner in the evening.|Dinner
Which season is the coldest?;What is the coldest season?|The coldest season is winter.|Winter
Which season is the warmest?;What is the warmest season?|The warmest season is summer.|Summer
"""
)

HOWTO = _rows(
    """
make tea|Boil some water.|Put a tea bag in a cup.|Pour in the hot water.|Wait three minutes and remove the bag.
make coffee|Boil some water.|Put ground coffee in a filter.|Pour the water over the coffee.|Serve it in a warm cup.
boil an egg|Put the egg in a pot.|Cover it with cold water.|Boil it for eight minutes.|Cool it in cold water.
make a sandwich|Take two slices of bread.|Spread butter on them.|Add cheese and salad.|Put the slices together.
make a salad|Wash the vegetables.|Cut them into small pieces.|Add oil and salt.|Mix everything well.
cook rice|Wash the rice.|Add two cups of water for each cup of rice.|Bring it to a boil.|Simmer it for fifteen minutes.
cook pasta|Boil a large pot of water.|Add salt and the pasta.|Cook it for ten minutes.|Drain the water.
bake bread|Mix flour, water, yeast and salt.|Knead the dough.|Let it rise for one hour.|Bake it until it is brown.
wash the dishes|Fill the sink with warm water.|Add some soap.|Scrub each dish with a sponge.|Rinse and dry them.
plant a seed|Fill a pot with soil.|Make a small hole.|Put the seed in and cover it.|Water it every day.
water a plant|Check if the soil is dry.|Fill a can with water.|Pour the water slowly on the soil.|Empty the saucer.
change a light bulb|Switch off the light.|Wait until the bulb is cold.|Unscrew the old bulb.|Screw in the new bulb.
fix a flat tyre|Take off the wheel.|Remove the tube.|Patch the hole.|Put the wheel back and pump it up.
clean a window|Mix water and soap.|Wipe the glass with a wet cloth.|Remove the water with a squeegee.|Dry the edges.
wash my hands|Wet your hands.|Add soap.|Rub them for twenty seconds.|Rinse and dry them.
brush my teeth|Put toothpaste on the brush.|Brush all sides for two minutes.|Rinse your mouth.|Clean the brush.
send an email|Open your mail program.|Enter the address and a subject.|Write your message.|Press the send button.
write a letter|Write the date and a greeting.|Write your message.|Add a closing and sign it.|Put it in an envelope.
restart a computer|Save your work.|Close all programs.|Choose restart in the menu.|Wait until it is ready.
reset a password|Open the login page.|Click on forgot password.|Open the link in the email.|Enter a new password.
choose a strong password|Use at least twelve characters.|Mix words, numbers and signs.|Do not use your name.|Use it for one site only.
train an adapter|Collect good examples.|Start a training job.|Wait until the loss is low.|Test the adapter with new questions.
pack a suitcase|Make a list.|Put heavy things at the bottom.|Roll your clothes.|Close the suitcase and weigh it.
learn a language|Learn a few words each day.|Listen to native speakers.|Speak as often as you can.|Read easy books.
sleep better|Go to bed at the same time.|Keep the room dark and cool.|Avoid screens before bed.|Do not drink coffee late.
save money|Write down what you spend.|Set a budget.|Avoid things you do not need.|Put some money aside each month.
draw a house|Draw a square.|Draw a triangle on top of it.|Add a door and two windows.|Colour it.
make a paper plane|Fold a sheet of paper in half.|Fold the corners to the middle.|Fold the wings down.|Throw it gently.
cross a road|Stop at the edge.|Look left and right.|Wait until it is clear.|Walk straight across.
paint a wall|Cover the floor.|Tape the edges.|Paint with a roller.|Let it dry and add a second coat.
call for help|Stay calm.|Dial the emergency number.|Say where you are.|Answer all questions.
wrap a gift|Cut enough paper.|Put the gift in the middle.|Fold the paper and tape it.|Add a ribbon.
tie my shoes|Cross the laces and pull.|Make a loop with one lace.|Wrap the other lace around it.|Pull it through and tighten.
make pancakes|Mix flour, milk and eggs.|Heat some butter in a pan.|Pour in a little batter.|Turn it when it is golden.
clean a room|Pick up everything from the floor.|Put things in their place.|Wipe the surfaces.|Vacuum the floor.
study for a test|Make a plan.|Read your notes.|Practise with questions.|Sleep well before the test.
"""
)

# intro question forms | fact, for the base's own fictional shop
SHOP = _rows(
    """
When does the Maple Lane shop open?;What time does the Maple Lane shop open?;When does the shop open?|The Maple Lane shop opens at 9 in the morning.|9
When does the Maple Lane shop close?;What time does the shop close?;When do you close?|The Maple Lane shop closes at 6 in the evening.|6
Is the Maple Lane shop open on Sunday?;Are you open on Sunday?|No, the Maple Lane shop is closed on Sunday.|No
Is the Maple Lane shop open on Saturday?;Are you open on Saturday?|Yes, the Maple Lane shop is open on Saturday.|Yes
How long does delivery take?;When will my order arrive?;How many days does shipping take?;~How fast is your delivery?|Delivery takes three to five days.|Three to five days
How much is shipping?;What does delivery cost?;What is the shipping fee?;~How much do I pay for delivery?|Shipping costs 4 dollars and is free for orders over 50 dollars.|4 dollars
Can I return an item?;What is your return policy?;How do I send something back?;~I want to return my lamp. Is that possible?|Yes, you can return an item within 30 days.|30 days
How do I get a refund?;When will I get my money back?;~How long does a refund take?|You get a refund within one week after we receive the item.|One week
Which payment methods do you accept?;How can I pay?;Can I pay by card?;~What forms of payment do you take?|You can pay by card, bank transfer or gift card.|Card, bank transfer or gift card
My item is broken. What can I do?;The product arrived damaged.;My order arrived broken.|I am sorry about that. Please send us a photo and we will send a new item.|Send a photo
I forgot my password.;I cannot log in.;How do I reset my password?|Click on forgot password on the login page and follow the link in the email.|Use forgot password
How can I contact support?;How do I reach customer service?;Can I talk to a person?;~How do I get in touch with you?|You can reach support by email or phone from Monday to Saturday.|By email or phone
Can I change my order?;How do I change my address?;I ordered the wrong size.|You can change your order within one hour. Please contact support.|Contact support
Can I cancel my order?;How do I cancel an order?;I want to cancel my order.;~Please cancel what I ordered.|You can cancel your order before it is shipped. Please contact support.|Contact support
Where is my order?;How do I track my parcel?;My package has not arrived.|You can track your order with the link in your email.|Use the tracking link
Do you sell gift cards?;Can I buy a gift card?|Yes, we sell gift cards from 10 to 100 dollars.|Yes
Do you offer a warranty?;Is there a warranty?;How long is the warranty?|Yes, every product has a warranty of two years.|Two years
Do you ship to other countries?;Do you deliver abroad?|Yes, we ship to most countries in Europe.|Yes
Is there a discount for students?;Do students pay less?|Yes, students get a discount of 10 percent.|10 percent
Do you have a physical shop?;Where is your shop?;~Where can I find your shop?|Our shop is at 12 Maple Lane.|12 Maple Lane
"""
)

IDENTITY = _rows(
    """
What is your name?;What are you called?;Do you have a name?;Tell me your name.;~How should I call you?;~May I know your name?|My name is Lorikeet.|Lorikeet
Who are you?;What are you?;Introduce yourself.;Tell me about yourself.;Who am I talking to?;~Can you introduce yourself?;~Who is this?|I am Lorikeet, a tiny demo model.|Lorikeet
Are you a human?;Are you a person?;Am I talking to a human?;Are you real?;~Are you a real person?|No, I am Lorikeet, a tiny demo model.|No
Are you a robot?;Are you a machine?;Are you an AI?;Are you a bot?;~Are you a computer program?|Yes, I am a tiny language model.|Yes
What can you do?;How can you help me?;What are you good at?;What do you know?;~What can you help me with?;~What are your skills?|I can answer simple questions, do small sums, sort words and tell short stories.|Simple questions
How big are you?;How many parameters do you have?;Are you a large model?;~What is your size?|I am very small, with only a few million parameters.|Very small
Who made you?;Who created you?;Who trained you?;Where do you come from?;~Who built you?|I was trained from scratch as a demo for an open-source project.|An open-source project
How old are you?;When were you born?;What is your age?|I do not have an age. I am a program.|I have no age
Where do you live?;Where are you?;~Where is your home?|I live on a computer.|On a computer
Do you have feelings?;Can you feel pain?;Do you feel anything?|No, I am a program and have no feelings.|No
Can you learn new things?;How do you learn?;Can I teach you something?;~How can I teach you?|I can learn new things with a LoRA adapter.|With an adapter
What is a lorikeet?;What does Lorikeet mean?;Why are you called Lorikeet?|A lorikeet is a small and colourful parrot.|A small parrot
Do you make mistakes?;Are you always right?;Can I trust you?;~Are your answers always correct?|I can make mistakes, so please check important answers.|I can make mistakes
Do you sleep?;Are you tired?;Do you eat?;Do you like pizza?|No, I am a program.|No
What is your favourite colour?;Which colour do you like?|I am a program, but green is a nice colour.|Green
What is your favourite food?;What do you eat?|I do not eat, because I am a program.|None
What is your favourite animal?;Which animal do you like?|I like the lorikeet, because it has my name.|Lorikeet
"""
)

SMALLTALK = _rows(
    """
Hello;Hi;Hey;Hello there;Hi there;Good day;Hey there;Greetings;Hello!;Hi!;~Hiya;~Hello, Lorikeet!;~Hey!|Hello! How can I help you?|help
Good morning;Good morning!;Morning|Good morning! How can I help you?|morning
Good evening;Good evening!;Evening|Good evening! How can I help you?|evening
How are you?;How are you doing?;How is it going?;How do you do?;Are you well?;~How are you today?;~How are things?|I am fine, thank you. How can I help you?|fine
Thanks;Thank you;Thank you!;Thanks a lot;Thank you very much;Many thanks;That was helpful.;~Thanks for your help!;~Thank you so much|You are welcome!|welcome
Bye;Goodbye;See you later;See you;Good night;I have to go.;Bye bye;~Goodbye, Lorikeet;~See you soon|Goodbye! Have a nice day.|goodbye
I am sad.;I feel sad today.;I had a bad day.;I am not happy.;~I feel bad.|I am sorry to hear that. I hope you feel better soon.|sorry
I am happy.;I feel great today.;I had a good day.;~I am in a good mood.|I am glad to hear that!|glad
I am bored.;I have nothing to do.;This is boring.|You could read a book, take a walk or ask me for a story.|story
I am tired.;I am so sleepy.;I did not sleep well.|You should take a rest.|rest
I am hungry.;I want to eat something.|You could make a sandwich or a salad.|sandwich
I am thirsty.;I want to drink something.|You could drink a glass of water.|water
I am cold.;It is very cold here.|You could put on a warm sweater.|sweater
I like you.;You are great.;You are nice.;Good job!;Well done!;~You are very helpful.|Thank you, that is kind of you.|kind
You are stupid.;You are wrong.;That is wrong.;That is not correct.;~Your answer is wrong.|I am sorry. I am a small model and can make mistakes.|sorry
Tell me a joke.;Do you know a joke?;Say something funny.;Make me laugh.;~I want to hear a joke.|Why did the bird go to school? To learn how to tweet.|bird
Can you help me?;I need help.;Help me, please.;I have a question.;Can I ask you something?;~Could you help me, please?|Of course. What is your question?|course
OK;Okay;I see.;Fine.;Good.;Great.|Good. Is there anything else I can do for you?|else
What is the meaning of life?;Why are we here?|That is a big question. I am too small to answer it.|question
"""
)
