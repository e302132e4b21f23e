"""The responder's patterns and replies in English. The recogniser's grammar is made from this table, too."""

from pipeline.llm.builtin.language import Language
from pipeline.llm.builtin.numbers import ENGLISH as NUMBERS
from pipeline.speech.normalise.languages import LANGUAGES

PATTERNS = (
    ("what time is it [now]", "time"),
    ("[do you know] what time it is", "time"),
    ("what is the time [now]", "time"),
    ("tell me the time", "time"),
    ("what day is it [today]", "day"),
    ("what day [of the week] is (it | today)", "day"),
    ("what day is tomorrow", "tomorrow"),
    ("what is the date [today]", "date"),
    ("what is today's date", "date"),
    ("what month is it", "month"),
    ("what year is it", "year"),
    ("what is <sum>", "sum"),
    ("how much is <sum>", "sum"),
    ("calculate <sum>", "sum"),
    ("how many <unit> (are [there] | is) in <amount> <unit>", "how_many"),
    ("how many <unit> (in | has | have) <amount> <unit>", "how_many"),
    ("how many <unit> does <amount> <unit> have", "how_many"),
    ("convert <amount> <unit> (to | into) <unit>", "convert"),
    ("what is <amount> <unit> in <unit>", "convert"),
    ("how much is <amount> <unit> in <unit>", "convert"),
    ("how do you spell <word>", "spell"),
    ("spell [the word] <word>", "spell"),
    ("count from <number> to <number>", "count_from"),
    ("count [up] to <number>", "count"),
    ("repeat after me <text>", "repeat"),
    ("what did i [just] say", "what_said"),
    ("what was that", "again"),
    ("(say | repeat) that again", "again"),
    ("(repeat that | say again | please repeat)", "again"),
    ("what did you [just] say", "again"),
    ("my name is <name>", "my_name"),
    ("(i am called | call me) <name>", "my_name"),
    ("what is my name", "what_name"),
    ("(who am i | do you know my name)", "what_name"),
    ("say hello to <name>", "say_hello"),
    ("(hello | hi | hey) [there] [how are you [today]]", "hello"),
    ("good (morning | afternoon | evening)", "hello"),
    ("good night", "goodbye"),
    ("how are you [doing] [today]", "how_are_you"),
    ("(can | do) you hear me", "hear"),
    ("nice to meet you", "nice"),
    ("thank you [very much]", "thanks"),
    ("(thanks | thanks a lot | many thanks)", "thanks"),
    ("no thank you", "okay"),
    ("(goodbye | bye | bye bye | see you later | see you)", "goodbye"),
    ("what is your name", "who"),
    ("(who | what) are you", "who"),
    ("what can you do", "abilities"),
    ("help [me]", "abilities"),
    ("what can i (say | ask [you])", "abilities"),
    ("where are you", "where"),
    ("i have a question", "go_ahead"),
    ("tell me a joke", "joke"),
    ("tell me another joke", "joke"),
    ("(make me laugh | say something funny)", "joke"),
    ("tell me a [long] story", "story"),
    ("tell me another story", "story"),
    ("set a timer (for | of) <amount> <unit>", "timer"),
    ("(yes | no | stop | okay | never mind | cancel that | wait)", "okay"),
)

LOOSE = (
    ("<sum> [equals]", "sum"),
    ("<amount> <unit> (in | to) <unit>", "convert"),
    ("spelled <word>", "spell"),
    ("good bye", "goodbye"),
    ("[the] time", "time"),
    ("what day is it tomorrow", "tomorrow"),
    ("which day [of the week] is it [today]", "day"),
    ("who am i talking to", "who"),
    ("are you a (robot | computer | machine | human | person)", "who"),
    ("i am bored", "joke"),
    ("how many <unit> (are | is) <amount> <unit>", "how_many"),
)
"""Patterns that are not in the recogniser's grammar, because short words in any order sound like everything else."""

REPLIES = {
    "time": ("It is {hour12}:{minute:02} {half}.",),
    "time_one": ("It is {hour12}:{minute:02} {half}.",),
    "day": ("Today is {weekday}.",),
    "tomorrow": ("Tomorrow is {weekday}.",),
    "date": ("Today is {weekday}, {month} {day}, {year}.",),
    "month": ("It is {month}.",),
    "year": ("It is {year}.",),
    "sum": ("{sum} is {result}.",),
    "sum_about": ("{sum} is about {result}.",),
    "no_zero": ("Nothing can be divided by zero.",),
    "conversion": ("{source} is {result}.",),
    "about": ("{source} is about {result}.",),
    "no_conversion": ("I cannot turn {source} into {target}: they measure different things.",),
    "timer": ("All right, {duration} from now.",),
    "no_timer": ("I can set timers only in a live conversation, and up to a day.",),
    "spell": ("{word}: {letters}.",),
    "count_limit": ("I count to {limit} at most.",),
    "said": ("You said: {text}",),
    "said_nothing": ("You have not said anything yet.",),
    "again": ("{text}",),
    "again_nothing": ("I have not said anything yet.",),
    "my_name": ("Nice to meet you, {name}.",),
    "name": ("Your name is {name}.",),
    "no_name": ("You have not told me your name yet.",),
    "say_hello": ("Hello, {name}!",),
    "hello": ("Hello! How can I help you?", "Hello again!"),
    "hello_name": ("Hello, {name}! How can I help you?",),
    "how_are_you": ("I am fine, thank you. How can I help you?",),
    "hear": ("Yes, I hear you well.",),
    "nice": ("Nice to meet you, too.",),
    "thanks": ("You are welcome.",),
    "okay": ("All right.",),
    "goodbye": ("Goodbye! Talk to you soon.",),
    "who": ("I am Parley, your voice assistant. I run on your own machine.",),
    "abilities": (
        "I can tell the time and the date, do sums, convert units, spell words, count, repeat what you say, "
        "and tell a joke or a story.",
    ),
    "where": ("I am right here, on your own machine.",),
    "go_ahead": ("Go ahead, I am listening.",),
    "joke": (
        "Why did the robot go on holiday? It had to recharge its batteries.",
        "I would tell you a joke about silence, but nobody ever hears it.",  # language: allow
        "What do you call a parrot that flew away? A polygon.",
    ),
    "story": (
        "Once upon a time there was a small lighthouse at the end of a long pier. Every evening it lit its lamp and "
        "counted the ships that came home. One night a thick fog rolled in, and not a single ship could see the light. "
        "So the lighthouse began to sing, softly at first, then louder and louder. Far out at sea, an old "
        "captain heard "
        "the song and turned his ship towards it. One after the other, all the ships followed him into the harbor. In "
        "the morning the fog was gone, and the whole town came to say thank you. Since that day the lighthouse sings a "
        "little every evening, just in case.",
        "There once was a clock that was always five minutes late. The other clocks laughed at it, but it "
        "did not mind. "
        "One day the town decided to send its slowest clock to the museum. The wagon came exactly on time, "
        "and the clock "
        "was not ready yet. It was still five minutes to noon, as far as the clock could tell. So the wagon "
        "left without "
        "it, and the clock stayed on its tower. Ever since, everybody in that town has five minutes more.",
    ),
    "empty": ("I did not hear anything.",),
    "fallback": (
        "I heard: {text}. I cannot answer that, because no language model is connected. Start Ollama with the model "
        "{model}, and I will use it for your next question.",
    ),
    "fallback_short": ("I heard: {text}. No language model is connected yet.",),
}

ENGLISH = Language(
    code="en",
    numbers=NUMBERS,
    joiner="and",
    point="point",
    comma_decimal=False,
    operators={"plus": "+", "minus": "-", "times": "*", "divided by": "/", "multiplied by": "*", "over": "/",
               "percent of": "%", "% of": "%", "x": "*"},
    operator_names={"+": "plus", "-": "minus", "*": "times", "/": "divided by", "%": "percent of"},
    units={
        "kilometer": ("kilometers", "kilometer", "kilometres", "kilometre", "km"),
        "meter": ("meters", "meter", "metres", "metre", "m"),
        "centimeter": ("centimeters", "centimeter", "centimetres", "centimetre", "cm"),
        "mile": ("miles", "mile"),
        "foot": ("feet", "foot", "ft"),
        "inch": ("inches", "inch"),
        "kilogram": ("kilograms", "kilogram", "kilos", "kilo", "kg"),
        "gram": ("grams", "gram", "g"),
        "pound": ("pounds", "pound", "lbs", "lb"),
        "ounce": ("ounces", "ounce", "oz"),
        "celsius": ("degrees celsius", "celsius", "degree celsius", "° c", "c", "°c"),
        "fahrenheit": ("degrees fahrenheit", "fahrenheit", "degree fahrenheit", "° f", "f", "°f"),
        "second": ("seconds", "second"),
        "minute": ("minutes", "minute"),
        "hour": ("hours", "hour"),
        "day": ("days", "day"),
        "week": ("weeks", "week"),
        "year": ("years", "year"),
    },
    unit_names={
        "kilometer": ("kilometer", "kilometers"), "meter": ("meter", "meters"),
        "centimeter": ("centimeter", "centimeters"), "mile": ("mile", "miles"), "foot": ("foot", "feet"),
        "inch": ("inch", "inches"), "kilogram": ("kilogram", "kilograms"), "gram": ("gram", "grams"),
        "pound": ("pound", "pounds"), "ounce": ("ounce", "ounces"), "celsius": ("degree Celsius", "degrees Celsius"),
        "fahrenheit": ("degree Fahrenheit", "degrees Fahrenheit"), "second": ("second", "seconds"),
        "minute": ("minute", "minutes"), "hour": ("hour", "hours"), "day": ("day", "days"), "week": ("week", "weeks"),
        "year": ("year", "years"),
    },
    one=("a", "an"),
    patterns=PATTERNS + LOOSE,
    contractions={
        "what's": "what is", "how's": "how is", "who's": "who is", "i'm": "i am", "where's": "where is",
        "it's": "it is", "that's": "that is", "you're": "you are", "name's": "name is",
        "let's": "let us", "ok": "okay",
    },
    lead=("please", "hey parley", "okay parley", "parley", "so", "well", "um", "uh", "and", "now",
          "can you [please]", "could you [please]", "would you [please]", "can you tell me", "could you tell me",
          "i want you to", "tell me"),
    trail=("please", "now", "parley", "for me", "again please", "thank you", "thanks", "exactly"),
    months=LANGUAGES["en"].months,
    weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    telltale=frozenset({"the", "is", "what", "you", "are", "to", "of", "and", "how", "my", "it", "i", "hello", "tell"}),
    replies=REPLIES,
    sample_words={
        "name": "alice | bob | charlie | david | emma | frank | grace | henry | julia | kevin | maria | peter | robert "
        "| sarah | thomas",
        "word": "london | paris | berlin | boston | chicago | denver | tokyo | rome | red | green | blue | "
        "white | black "
        "| yellow | orange | purple | house | water | music | table | hello | alice | bob | david | emma | peter",
        "text": "hello [how are you] | good morning | good evening | what time is it [now] | what day is it [today] "
        "| thank you [very much] | i want to hear music | tell me a story | tell me a joke | yes please | goodbye "
        "| can you hear me | one two three | how are you today | what is your name | the weather is good today",
    },
)  # fmt: skip
