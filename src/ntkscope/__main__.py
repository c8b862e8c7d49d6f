from ntkscope.cli.main import main

main()
